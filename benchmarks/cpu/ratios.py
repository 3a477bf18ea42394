"""Peer time / our time, and the figures to reach. Pure: from measured windows to one dictionary of numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from edgevision.profile.statistics import Interval, paired_ratio

#: key: (what must be reached, what would be better still).
GOALS: dict[str, tuple[float, float]] = {
    "int8_layer_vs_ort_geomean": (1.3, 1.45),
    "int8_layer_vs_ort_min": (1.05, 1.05),
    "binary_layer_vs_ort_int8_geomean": (5.0, 6.0),
    "binary_layer_vs_ort_int8_min": (3.5, 3.5),
    "binary_layer_vs_ort_fp32_geomean": (14.0, 17.0),
    "fp32_gemm_vs_ort_geomean": (1.03, 1.08),
    "dw3x3_fp32_vs_ort_geomean": (3.0, 4.5),
    "cas_vit_xs_fp32_vs_ort": (1.6, 1.85),
    "cas_vit_xs_fp32_vs_openvino_f32": (1.3, 1.5),
    "cas_vit_xs_fp32_vs_ncnn": (1.5, 1.8),
    "cas_vit_xs_int8_vs_ort_best": (3.5, 4.5),
    "cas_vit_xs_int8_vs_openvino_best": (2.2, 2.7),
    "deit_tiny_fp32_vs_ort": (1.25, 1.4),
    "deit_tiny_fp32_vs_openvino_f32": (1.1, 1.2),
    "deit_tiny_int8_vs_ort_best": (1.9, 2.3),
    "deit_tiny_int8_vs_openvino_int8": (1.8, 2.1),
    "deit_tiny_binary_vs_ort_int8": (4.0, 6.0),
    "deit_tiny_binary_vs_ort_fp32": (7.0, 11.0),
    "deit_tiny_binary_vs_openvino_best": (3.5, 5.5),
    "deit_small_binary_vs_ort_int8": (4.0, 6.0),
    "deit_small_binary_vs_openvino_int8": (3.5, 5.5),
    "swin_tiny_binary_vs_ort_int8": (4.0, 5.5),
    "cas_vit_xs_binary_vs_ort_best": (5.0, 7.0),
    "cas_vit_xs_binary_vs_openvino_best": (3.0, 4.0),
    "efficientnet_lite0_int8_vs_ort_best": (1.5, 2.0),
    "efficientnet_lite0_int8_vs_openvino_int8": (1.2, 1.5),
    "mobilenet_v2_int8_vs_ort_best": (1.5, 2.0),
    "resnet18_int8_vs_openvino_int8": (1.0, 1.1),
    "threads_speedup_cas_vit_m": (1.7, 1.7),
    "threads_speedup_deit_small": (1.7, 1.7),
}

BINARY = "edgevision binary"
OURS = {"fp32": "edgevision fp32", "int8": "edgevision int8"}
#: For each of our kinds, the rivals in a key after "_vs_" as beginnings of engine names; the fastest engine that starts
#: so is the rival. onnxruntime's and OpenVINO's best may be networks in float: some int8 ones are slower.
RIVALS: dict[str, dict[str, str]] = {
    "fp32": {"ort": "onnxruntime fp32", "openvino_f32": "openvino f32", "ncnn": "ncnn fp32"},
    "int8": {"ort_best": "onnxruntime", "openvino_int8": "openvino int8", "openvino_best": "openvino"},
    "binary": {
        "ort_fp32": "onnxruntime fp32",
        "ort_int8": "onnxruntime int8",
        "ort_best": "onnxruntime",
        "openvino_int8": "openvino int8",
        "openvino_best": "openvino",
    },
}


def geomean(values: Iterable[float]) -> float:
    """Geometric mean of positive numbers.

    >>> geomean([1.0, 4.0])
    2.0
    """
    logs = [math.log(value) for value in values]
    if not logs:
        raise ValueError("expected at least one value")
    return math.exp(sum(logs) / len(logs))


def best(engines: Mapping[str, Mapping[str, Any]], beginning: str) -> str | None:
    """The fastest engine whose name starts with `beginning` and whose outputs were not found wrong, if any."""
    names = [name for name, engine in engines.items() if name.startswith(beginning) and engine.get("agrees", True)]
    return min(names, key=lambda name: engines[name]["median_ms"], default=None)


def ratio(engines: Mapping[str, Mapping[str, Any]], ours: str, rival: str) -> Interval:
    """Time of `rival` / time of `ours`, paired by round: above 1, ours is faster."""
    return paired_ratio(engines[rival]["window_ms"], engines[ours]["window_ms"])


def network_ratios(name: str, engines: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Every ratio of one network, by key, with its interval and the rival it is taken against."""
    found = {}
    for kind, ours in {**OURS, "binary": BINARY}.items():
        for label, beginning in RIVALS[kind].items():
            rival = best(engines, beginning)
            if ours in engines and rival is not None and engines[ours].get("agrees", True):
                value = ratio(engines, ours, rival)
                found[f"{name}_{kind}_vs_{label}"] = described(value, rival)
    return found


def described(value: Interval, rival: str) -> dict[str, Any]:
    """A ratio as the file has it."""
    return {"ratio": value.value, "low": value.low, "high": value.high, "rival": rival}


def add_ceilings(
    details: Mapping[str, dict[str, Any]], engines: Mapping[str, Any], lines: Mapping[str, Mapping[str, Any]]
) -> None:
    """Give each ratio "at_peak": what it would be if ours took no longer than its arithmetic at this machine's peak."""
    for key, detail in details.items():
        ideal = next((line["ideal_ms"] for kind, line in lines.items() if f"_{kind}_vs_" in key), None)
        if ideal:
            detail["at_peak"] = engines[detail["rival"]]["median_ms"] / ideal


def layer_ratios(layers: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Geometric means over layers, and the least int8 and binary layer.

    Args:
        layers: by name, each with its "kind" ("gemm" or "depthwise") and its "engines" by name.
    """
    found: dict[str, list[float]] = {"int8": [], "fp32": [], "dw3x3": [], "dw3x3_inside": []}
    found |= {"binary_int8": [], "binary_fp32": []}
    for layer in layers.values():
        engines = layer["engines"]
        if layer["kind"] == "depthwise":
            pairs = {
                "dw3x3": ("edgevision fp32", "onnxruntime fp32"),
                "dw3x3_inside": ("edgevision chain", "onnxruntime chain"),
            }
        else:
            pairs = {kind: (OURS[kind], f"onnxruntime {kind}") for kind in OURS}
            pairs |= {f"binary_{kind}": (BINARY, f"onnxruntime {kind}") for kind in OURS}
        for what, (ours, beginning) in pairs.items():
            rival = best(engines, beginning)
            if rival is not None and ours in engines and engines[ours].get("agrees", True):
                found[what].append(ratio(engines, ours, rival).value)
    keys = {
        "binary_int8": "binary_layer_vs_ort_int8_geomean",
        "binary_fp32": "binary_layer_vs_ort_fp32_geomean",
        "int8": "int8_layer_vs_ort_geomean",
        "fp32": "fp32_gemm_vs_ort_geomean",
        "dw3x3": "dw3x3_fp32_vs_ort_geomean",
        "dw3x3_inside": "dw3x3_fp32_vs_ort_inside_network_geomean",
    }
    means = {key: geomean(found[what]) for what, key in keys.items() if found[what]}
    least = {"int8": "int8_layer_vs_ort_min", "binary_int8": "binary_layer_vs_ort_int8_min"}
    return means | {key: min(found[what]) for what, key in least.items() if found[what]}


def all_ratios(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the file has under "ratios" (one thread), "ratios_2_threads" and "ratio_details".

    Args:
        result: "layers" and "networks" by threads, "speedups" and "waterlines" by network; any may be missing.
    """
    made: dict[str, Any] = {"ratio_details": {}}
    counts = sorted({*result.get("layers", {}), *result.get("networks", {})}, key=int)
    for threads in counts:
        numbers = layer_ratios(result.get("layers", {}).get(threads, {}))
        details: dict[str, Any] = {}
        for name, measured in result.get("networks", {}).get(threads, {}).items():
            found = network_ratios(name, measured["engines"])
            if threads == "1":
                add_ceilings(found, measured["engines"], result.get("waterlines", {}).get(name, {}))
            details |= found
        numbers |= {key: detail["ratio"] for key, detail in details.items()}
        made["ratios" if threads == "1" else f"ratios_{threads}_threads"] = numbers
        made["ratio_details"][threads] = details
    made.setdefault("ratios", {})
    for name, engines in result.get("speedups", {}).items():
        one, two = (f"edgevision fp32, {threads} threads" for threads in (1, 2))
        if engines:
            made["ratios"][f"threads_speedup_{name}"] = ratio(engines, two, one).value
    return made
