"""What `check`, `deploy` and `profile` say about the engine beside a processor; every figure is called modelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgevision.cli.console import Console

if TYPE_CHECKING:
    from edgevision.api.engines import EngineCheck
    from edgevision.engine.figures import Figures
    from edgevision.engine.offload import Offload


def tell(console: Console, found: EngineCheck, target: str) -> None:
    """A table and a few lines for people."""
    if found.figures is not None:
        tell_figures(console, found.figures, target, len(found.calls))
        names = ", ".join(name for name, _ in found.on_processor)
        console.say(f"On the processor: {names}; 0 % of the multiply-accumulates.")
    elif found.offload is not None:
        _tell_offload(console, found.offload)
    elif found.on_processor:
        rows = [(name, f"{100 * share:.1f} %") for name, share in found.on_processor]
        console.table("layers the engine has no room for", ("layer", "MACs"), rows)


def tell_figures(console: Console, figures: Figures, target: str, calls: int) -> None:
    """Time and resources."""
    from edgevision.report import words

    console.table(
        f"engine of {target}, modelled: nothing was synthesised",
        ("resource", "used", "between", "of", "verdict"),
        [(fit.resource, f"{fit.used:.0f}", f"{fit.low:.0f}–{fit.high:.0f}", str(fit.available), fit.verdict)
         for fit in figures.resources],
    )  # fmt: skip
    console.say(
        f"{calls} calls, {words.count(figures.macs)} MACs: {words.digits(figures.ms)} ms, "
        f"{words.digits(figures.frames_per_second)} frames/s modelled ({figures.clock_mhz} MHz and "
        f"{figures.gb_s:g} GB/s assumed; image in memory to maps in memory)"
    )


def _tell_offload(console: Console, found: Offload) -> None:
    from edgevision.report import words

    console.say(
        "Runs on the processor: it is not made of the engine's integers (recipe w4a8-qat on a CoDeNet makes such)."
    )
    if not found.layers:
        console.say(f"The engine could do none of its {len(found.others)} layers: {_first_reason(found)}.")
        return
    kinds = sorted({layer.kind for layer in found.layers}, reverse=True)
    rows = []
    for kind in kinds:
        some = [layer for layer in found.layers if layer.kind == kind]
        rows.append(
            (kind, str(len(some)), words.count(sum(one.macs for one in some)),
             words.digits(sum(one.processor_ms for one in some)), words.digits(sum(one.engine_ms for one in some)),
             str(sum(one.gains for one in some)))
        )  # fmt: skip
    console.table(
        "layers the engine could do, modelled", ("kind", "count", "MACs", "processor ms", "engine ms", "sooner"), rows
    )
    console.say(
        f"{100 * found.share:.1f} % of the MACs; {words.digits(found.saved_ms)} ms a frame less on one core if those "
        f"that are sooner there went to the engine (modelled; not offloaded). {len(found.others)} other layers: "
        f"{_first_reason(found)}."
    )


def _first_reason(found: Offload) -> str:
    counts: dict[str, int] = {}
    for _, reason in found.others:
        counts[reason] = counts.get(reason, 0) + 1
    if not counts:
        return "none"
    reason = max(counts, key=lambda one: counts[one])
    return f"{reason} ({counts[reason]})"


def as_dict(found: EngineCheck | None) -> dict[str, Any] | None:
    """The same for `--json`."""
    if found is None:
        return None
    shown: dict[str, Any] = {"modelled": True, "on_processor": [list(one) for one in found.on_processor]}
    if found.figures is not None:
        shown |= figures_dict(found.figures) | {"calls": len(found.calls)}
    if found.offload is not None:
        shown["offload"] = {
            "mac_share": found.offload.share,
            "saved_ms": found.offload.saved_ms,
            "layers": [
                {"name": one.name, "kind": one.kind, "macs": one.macs, "engine_ms": one.engine_ms,
                 "processor_ms": one.processor_ms}
                for one in found.offload.layers
            ],
            "others": [{"name": name, "reason": reason} for name, reason in found.offload.others],
        }  # fmt: skip
    return shown


def figures_dict(figures: Figures) -> dict[str, Any]:
    """Figures with what follows from them."""
    return {
        "ms": figures.ms,
        "frames_per_second": figures.frames_per_second,
        "cycles": figures.cycles,
        "clock_mhz": figures.clock_mhz,
        "gb_s": figures.gb_s,
        "macs": figures.macs,
        "resources": [
            {"resource": fit.resource, "used": fit.used, "low": fit.low, "high": fit.high, "available": fit.available,
             "verdict": fit.verdict}
            for fit in figures.resources
        ],
    }  # fmt: skip
