"""From made-up windows to ratios: which rival is taken, and how windows are paired."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cpu import layers, ratios, table
from benchmarks.cpu.catalogue import NETWORKS


def engine(*window_ms: float, agrees: bool = True) -> dict:
    return {"median_ms": float(np.median(window_ms)), "window_ms": list(window_ms), "agrees": agrees}


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30))
def test_geomean_is_scipys(values):
    assert ratios.geomean(values) == pytest.approx(float(scipy.stats.gmean(values)))


def test_the_fastest_of_a_kind_is_the_rival():
    engines = {
        "onnxruntime fp32": engine(9.0),
        "onnxruntime int8 dynamic": engine(5.0),
        "onnxruntime int8 static": engine(6.0),
        "openvino f32": engine(1.0),
    }
    assert ratios.best(engines, "onnxruntime int8") == "onnxruntime int8 dynamic"
    assert ratios.best(engines, "ncnn") is None


def test_a_broken_engine_is_nobodys_rival():
    engines = {"onnxruntime int8 a": engine(1.0, agrees=False), "onnxruntime int8 b": engine(2.0)}
    assert ratios.best(engines, "onnxruntime int8") == "onnxruntime int8 b"


def test_the_best_of_a_runtime_may_be_its_float_network():
    engines = {
        "edgevision int8": engine(1.0),
        "onnxruntime fp32": engine(3.0),
        "onnxruntime int8 dynamic": engine(4.0),
        "openvino int8 NNCF, rest f32": engine(2.5),
        "openvino default": engine(2.0),
    }
    found = ratios.network_ratios("net", engines)
    assert {key: detail["ratio"] for key, detail in found.items()} == {
        "net_int8_vs_ort_best": 3.0,
        "net_int8_vs_openvino_int8": 2.5,
        "net_int8_vs_openvino_best": 2.0,
    }
    assert found["net_int8_vs_ort_best"]["rival"] == "onnxruntime fp32"


def test_a_binary_network_has_every_ratio_there_is_a_goal_for():
    engines = {
        "edgevision binary": engine(1.0),
        "onnxruntime fp32": engine(8.0),
        "onnxruntime int8 static": engine(4.0),
        "openvino default": engine(3.0),
        "openvino int8 NNCF, rest f32": engine(5.0),
    }
    names = [network.name for network in NETWORKS if network.binary]
    found = {key: detail["ratio"] for name in names for key, detail in ratios.network_ratios(name, engines).items()}
    assert {key for key in ratios.GOALS if "_binary_vs_" in key} <= found.keys()
    kinds = {key.split("_binary_vs_")[1]: value for key, value in found.items()}
    assert kinds == {"ort_fp32": 8, "ort_int8": 4, "ort_best": 4, "openvino_int8": 5, "openvino_best": 3}


def test_our_own_engine_that_is_wrong_earns_no_ratio():
    engines = {"edgevision fp32": engine(1.0, agrees=False), "onnxruntime fp32": engine(3.0)}
    assert ratios.network_ratios("net", engines) == {}


def test_windows_are_paired_by_round():
    engines = {"edgevision fp32": engine(1.0, 10.0, 2.0), "onnxruntime fp32": engine(2.0, 20.0, 4.0)}
    assert ratios.network_ratios("net", engines)["net_fp32_vs_ort"]["ratio"] == 2.0


def test_layers_become_means_and_the_least():
    def gemm(fp32: float, int8: float) -> dict:
        return {
            "kind": "gemm",
            "engines": {
                "edgevision fp32": engine(1.0),
                "edgevision int8": engine(1.0),
                "onnxruntime fp32": engine(fp32),
                "onnxruntime int8 dynamic": engine(int8),
                "onnxruntime int8 static": engine(2 * int8),
            },
        }

    depthwise = {
        "kind": "depthwise",
        "engines": {
            "edgevision fp32": engine(1.0),
            "onnxruntime fp32": engine(5.0),
            "edgevision chain": engine(1.0),
            "onnxruntime chain": engine(3.0),
        },
    }
    found = ratios.layer_ratios({"a": gemm(1.0, 2.0), "b": gemm(4.0, 8.0), "dw3x3": depthwise})
    assert found == pytest.approx(
        {
            "fp32_gemm_vs_ort_geomean": 2.0,
            "int8_layer_vs_ort_geomean": 4.0,
            "int8_layer_vs_ort_min": 2.0,
            "dw3x3_fp32_vs_ort_geomean": 5.0,
            "dw3x3_fp32_vs_ort_inside_network_geomean": 3.0,
        }
    )


def test_a_chain_leaves_out_what_happens_once():
    once, each = 7.0, 2.0
    found = layers.chained([once + each] * 3, [once + layers.CHAIN * each] * 3)
    assert found["median_ms"] == pytest.approx(each)


def result(speed: float) -> dict:
    engines = {"edgevision fp32": engine(1.0), "onnxruntime fp32": engine(speed)}
    speedups = {"edgevision fp32, 1 threads": engine(3.0), "edgevision fp32, 2 threads": engine(2.0)}
    return {
        "networks": {"1": {"cas_vit_xs": {"engines": engines}}, "2": {"cas_vit_xs": {"engines": engines}}},
        "speedups": {"cas_vit_m": speedups},
    }


def test_each_number_of_threads_has_its_ratios_and_a_second_thread_its_gain():
    found = ratios.all_ratios(result(2.0))
    assert found["ratios"] == {"cas_vit_xs_fp32_vs_ort": 2.0, "threads_speedup_cas_vit_m": 1.5}
    assert found["ratios_2_threads"] == {"cas_vit_xs_fp32_vs_ort": 2.0}


def test_a_ceiling_is_the_rivals_time_over_the_ideal_of_the_same_kind():
    lines = {"cas_vit_xs": {"fp32": {"ideal_ms": 0.5}, "int8": {"ideal_ms": 0.1}}}
    detail = ratios.all_ratios(result(2.0) | {"waterlines": lines})["ratio_details"]
    assert detail["1"]["cas_vit_xs_fp32_vs_ort"]["at_peak"] == 4.0
    assert "at_peak" not in detail["2"]["cas_vit_xs_fp32_vs_ort"]


@pytest.mark.parametrize(("speed", "short"), [(1.5, True), (1.7, False)])
def test_the_table_says_what_is_below_its_goal(speed, short):
    made = ratios.all_ratios(result(speed))
    (line,) = [line for line in table.lines(made) if line.startswith("cas_vit_xs_fp32_vs_ort ")]
    assert line.endswith("below") == short


def test_what_was_not_measured_is_not_called_slow():
    made = ratios.all_ratios(result(2.0))
    (line,) = [line for line in table.lines(made) if line.startswith("deit_tiny_fp32_vs_ort ")]
    assert line.endswith("not measured")
