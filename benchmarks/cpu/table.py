"""The result as a table on stdout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.cpu.ratios import GOALS


def show(result: Mapping[str, Any]) -> None:
    """Print the ratios next to what they must reach, networks that are missing, and where each network's time goes."""
    for line in lines(result):
        print(line)


def lines(result: Mapping[str, Any]) -> list[str]:
    """The table, line by line."""
    ratios, two = result["ratios"], result.get("ratios_2_threads", {})
    details = result.get("ratio_details", {}).get("1", {})
    head = ("1 thread", "2 threads", "must", "stretch", "at peak")
    text = [f"{'ratio (peer time / our time)':46s} " + " ".join(f"{word:>9s}" for word in head)]
    for key in [*GOALS, *sorted((ratios.keys() | two.keys()) - GOALS.keys())]:
        must, stretch = GOALS.get(key, (None, None))
        note = "" if must is None else "not measured" if key not in ratios else "below" if ratios[key] < must else ""
        numbers = (ratios.get(key), two.get(key), must, stretch, details.get(key, {}).get("at_peak"))
        cells = " ".join(f"{_number(number):>9s}" for number in numbers)
        text.append(f"{key:46s} {cells}  {note}".rstrip())
    for name, why in result.get("missing", {}).items():
        text.append(f"{name}: missing, {why.splitlines()[0]}")
    for name, kinds in result.get("waterlines", {}).items():
        for kind, line in kinds.items():
            text += ["", *_waterline(f"{name} {kind}", line)]
    for name, rows in result.get("memory", {}).items():
        text += ["", *(f"{name} {row}: {_memory(numbers)}" for row, numbers in rows.items())]
    for name, seconds in result.get("builds", {}).items():
        text.append(f"deploy {name}: " + ", ".join(f"{what} {value:.1f} s" for what, value in seconds.items()))
    return text


def _waterline(name: str, line: Mapping[str, Any]) -> list[str]:
    head = (
        f"{name}: ideal at peak {_number(line['ideal_ms'])} ms, memory floor {_number(line['memory_ms'])} ms, "
        f"steps {_number(line['step_sum_ms'])} ms, measured {_number(line['measured_ms'])} ms"
    )
    rows = [
        f"  {_number(step['us']):>7s} us  {step['family']:12s} {_share(step['of_peak'])} of peak, "
        f"{_share(step['of_bandwidth'])} of bandwidth, bound by {step['bound']}: {step['label'][:60]}"
        for step in line["slowest"]
    ]
    return [head, *rows]


def _memory(numbers: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{what.removesuffix('_bytes')} {value / 1e6:.1f} MB" for what, value in numbers.items() if value is not None
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "  ?" if value is None else f"{value:4.0%}"
