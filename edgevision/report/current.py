"""Which measurements still are of what lies in the work folder: those of anything made again since are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from edgevision.profile.interleave import compare
from edgevision.profile.profile import EngineProfile, Profile
from edgevision.report.tradeoff import baseline_of


def latest(
    profiles: Sequence[Profile], bundles: Mapping[str, str], networks: Mapping[str, str]
) -> tuple[list[Profile], list[str]]:
    """For each device and number of threads the newest profile that still says something, and remarks on the rest.

    Args:
        profiles: of one model and data, oldest first.
        bundles: sha256 of the manifest of each bundle there is, by folder name.
        networks: sha256 of the graph of each compressed network there is, by folder name.
    """
    found: dict[tuple[str, int], Profile] = {}
    remarks: dict[tuple[str, int, str], str] = {}
    for profile in reversed(profiles):
        place = (profile.device, profile.threads)
        if place in found:
            continue
        kept, stale = current(profile, bundles, networks)
        for engine, why in stale.items():
            remarks.setdefault((*place, engine), why)
        if kept is not None:
            found[place] = kept
    order = sorted(found, key=lambda key: (key[0] != "host", *key))
    return [found[key] for key in order], list(remarks.values())


def current(
    profile: Profile, bundles: Mapping[str, str], networks: Mapping[str, str]
) -> tuple[Profile | None, dict[str, str]]:
    """The profile without engines whose bundle or network changed, and a remark for each of those by its name.

    Ratios are taken again when the engine they were against is among them. None when no bundle of ours is left.
    """
    why = {engine.name: _change(engine, bundles, networks) for engine in profile.engines}
    stale = {engine.name: _remark(profile, engine, text) for engine in profile.engines if (text := why[engine.name])}
    engines = tuple(engine for engine in profile.engines if engine.name not in stale)
    if not any(engine.runtime == "edgevision" for engine in engines):
        return None, stale
    if not stale:
        return profile, {}
    windows = {engine.name: engine.window_ms for engine in engines}
    comparisons = compare(windows, baseline_of(list(windows)), seed=profile.protocol.seed)
    return msgspec.structs.replace(profile, engines=engines, comparisons=comparisons), stale


def _change(engine: EngineProfile, bundles: Mapping[str, str], networks: Mapping[str, str]) -> str:
    """What changed since an engine was measured; empty when nothing is known to have."""
    bundle, network = bundles.get(engine.bundle or ""), networks.get(engine.artefact)
    if network is not None and engine.onnx_sha256 is not None and network != engine.onnx_sha256:
        return f"{engine.artefact} was compressed again"
    if bundle is not None and engine.bundle_sha256 is not None and bundle != engine.bundle_sha256:
        return f"{engine.bundle} was deployed again"
    if engine.bundle_sha256 is None and engine.onnx_sha256 is None and (bundle or network):
        return f"this version began to record which {engine.bundle or engine.artefact} it was"
    return ""


def _remark(profile: Profile, engine: EngineProfile, change: str) -> str:
    threads = f"{profile.threads} thread{'s' if profile.threads > 1 else ''}"
    deploy = ""
    if engine.bundle and change.endswith("compressed again"):
        static = " --static" if engine.name.endswith(" static") else ""
        deploy = f"edgevision deploy {engine.artefact} --target {profile.target}{static} --overwrite, then "
    return (
        f"Left out: {engine.name} on {profile.device} with {threads} was measured before {change}. "
        f"To measure it again: {deploy}{profile.command or 'edgevision profile --all'}"
    )
