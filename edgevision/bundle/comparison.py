"""How a bundle that was built again differs from the first: versions, what the manifest says, and files."""

from __future__ import annotations

from typing import Any

import msgspec

from edgevision.bundle.manifest import Manifest

#: Longest value a line shows.
_WORD = 60
#: Parts of a manifest that are named one by one, or that follow from others.
_APART = ("files", "steps", "built_with", "compiler", "numerics_version")


def differing_versions(first: Manifest, again: Manifest) -> list[str]:
    """A line for each tool, package and specification of another version, packages that compressed first."""
    pairs: list[tuple[str, Any, Any]] = []
    for was, now in ((first.origin.versions, again.origin.versions), (first.built_with, again.built_with)):
        # A bundle from before versions were recorded says nothing about them.
        pairs += [(name, was[name], now.get(name)) for name in sorted(was)]
    pairs.append(("C compiler", first.compiler, again.compiler))
    pairs.append(("quant/NUMERICS.md", first.numerics_version, again.numerics_version))
    lines = [f"{name}: it was made with {_shown(was)}, here is {_shown(now)}" for name, was, now in pairs if was != now]
    return list(dict.fromkeys(lines))


def differing_files(first: Manifest, again: Manifest) -> list[str]:
    """A line for each file that is missing, new, or has another hash; then for each other thing a manifest says.

    Two lists without a line mean equal bytes throughout.
    """
    old, new = ({entry.path: entry for entry in manifest.files} for manifest in (first, again))
    lines = [f"{name}: missing in what was built now" for name in sorted(old.keys() - new.keys())]
    lines += [f"{name}: not in the bundle" for name in sorted(new.keys() - old.keys())]
    for name in sorted(old.keys() & new.keys()):
        was, now = old[name], new[name]
        if was.sha256 != now.sha256:
            lines.append(
                f"{name}: expected sha256 {was.sha256[:12]} ({was.size} bytes), got {now.sha256[:12]} "
                f"({now.size} bytes)"
            )
    return lines + _fields(first, again)


def _fields(first: Manifest, again: Manifest) -> list[str]:
    old, new = (_flat(msgspec.to_builtins(manifest)) for manifest in (first, again))
    names = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
    lines = [f"manifest.json, {name}: expected {_shown(old.get(name))}, got {_shown(new.get(name))}" for name in names]
    if len(first.steps) != len(again.steps):
        return [*lines, f"manifest.json: expected {len(first.steps)} steps, got {len(again.steps)}"]
    changed = [a.label for a, b in zip(first.steps, again.steps, strict=True) if a != b]
    return lines + ([f"manifest.json: {len(changed)} other steps, the first is '{changed[0]}'"] if changed else [])


def _flat(described: dict[str, Any]) -> dict[str, Any]:
    """The fields of a manifest and, of its origin and target, theirs; versions are compared elsewhere."""
    found: dict[str, Any] = {}
    for name, value in described.items():
        if name in ("origin", "target"):
            found |= {f"{name}.{inner}": v for inner, v in value.items() if inner != "versions"}
        elif name not in _APART:
            found[name] = value
    return found


def _shown(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= _WORD else f"{text[: _WORD - 3]}..."
