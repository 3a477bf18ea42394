"""The numpy reference against vectors made by exact rational arithmetic."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgevision.graph import numerics
from edgevision.graph.bytesteps import Line, Product
from edgevision.resources import shipped

GOLDEN = json.loads((shipped("quant") / "golden" / "numerics.json").read_text())


def test_version_in_the_specification_is_the_one_implemented():
    text = (shipped("quant") / "NUMERICS.md").read_text()
    assert f"Version: {numerics.VERSION}" in text
    assert GOLDEN["version"] == numerics.VERSION


def test_quantize_matches_rational_arithmetic():
    for v, s, z, low, high, expected in GOLDEN["quantize"]:
        assert int(numerics.quantize(np.float32(v), s, z, low, high)) == expected


def test_dequantize_matches_rational_arithmetic():
    for q, s, z, expected in GOLDEN["dequantize"]:
        assert int(numerics.dequantize(np.uint8([q]), s, z).view(np.uint32)[0]) == expected


def test_requantize_matches_rational_arithmetic():
    for acc, m, z, low, high, expected in GOLDEN["requantize"]:
        assert int(numerics.requantize(np.int32(acc), m, z, low, high)) == expected


def test_whole_steps_behind_a_layer_match_rational_arithmetic():
    for acc, m, zo, steps, low, high, expected in GOLDEN["whole_steps"]:
        assert int(numerics.requantize(np.int32(acc), m, zo + steps, low, high)) == expected


def test_lines_match_rational_arithmetic():
    for a, b, sa, sb, so, za, zb, zo, sign, term, expected in GOLDEN["line"]:
        line = Line.of(np.array([[sa / so], [sign * (sb / so)]]), (za, zb), zo, np.array([term / so]))
        assert int(line(np.uint8(a), np.uint8(b))) == expected


def test_products_match_rational_arithmetic():
    for a, b, sa, sb, so, za, zb, zo, expected in GOLDEN["product"]:
        assert int(Product.of(np.array([sa * sb / so]), (za, zb), zo)(np.uint8(a), np.uint8(b))) == expected


@pytest.mark.parametrize("name", sorted(GOLDEN["functions"]))
def test_float_functions_match_rational_arithmetic_exactly(name):
    points = np.array(GOLDEN["functions"][name], np.uint32)
    got = numerics.FUNCTIONS[name](points[:, 0].view(np.float32))
    # Compared as values: rationals have no negative zero.
    assert np.array_equal(got, points[:, 1].view(np.float32))


def floats(patterns):
    return np.array(patterns, np.uint32).view(np.float32)


def test_layer_norm_matches_rational_arithmetic_exactly():
    for row, gamma, beta, expected in GOLDEN["rows"]["layer_norm"]:
        got = numerics.layer_norm(floats(row)[None], floats(gamma), floats(beta), 1e-5)
        assert np.array_equal(got[0], floats(expected))


def test_softmax_matches_rational_arithmetic_exactly():
    for row, expected in GOLDEN["rows"]["softmax"]:
        assert np.array_equal(numerics.softmax(floats(row)[None])[0], floats(expected))


def test_softmax_is_close_to_its_definition_for_long_rows():
    x = np.random.default_rng(0).normal(0, 3, (2, 4096)).astype(np.float32)
    powers = np.exp(x.astype(np.float64) - x.max(axis=-1, keepdims=True))
    expected = powers / powers.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(numerics.softmax(x), expected, rtol=1e-5, atol=2.0**-18)


def test_golden_file_is_what_its_program_makes():
    program = shipped("quant") / "golden" / "make.py"
    code = f"import runpy, json; print(json.dumps(runpy.run_path({str(program)!r})['vectors']()))"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(made) == GOLDEN


@given(st.floats(-30, 30, width=32))
def test_functions_are_close_to_their_definitions(x):
    from math import erf, exp

    value = np.float32([x])
    assert abs(float(numerics.erf(value)[0]) - erf(x)) < 6e-7
    assert abs(float(numerics.gelu(value)[0]) - x * 0.5 * (1 + erf(x / 2**0.5))) < 1.7e-4 + 4e-7 * abs(x)
    assert abs(float(numerics.sigmoid(value)[0]) - 1 / (1 + exp(-x))) < 3e-7


@given(st.floats(-2, 2), st.floats(-2, 2), st.integers(0, 2**31))
def test_lines_stay_within_an_eighth_of_a_step_of_the_real_sum(ra, rb, seed):
    rng = np.random.default_rng(seed)
    a, b, za, zb, zo = rng.integers(0, 256, 5)
    real = (int(a) - int(za)) * ra + (int(b) - int(zb)) * rb + int(zo)
    got = int(Line.of(np.array([[ra], [rb]]), (int(za), int(zb)), int(zo))(np.uint8(a), np.uint8(b)))
    assert abs(got - min(max(real, 0), 255)) <= 0.5 + 1 / 8


@given(st.floats(-12, 0), st.integers(0, 2**31))
@example(-3.0, 4503)
def test_products_stay_close_to_the_real_product(reach, seed):
    rng = np.random.default_rng(seed)
    a, b, za, zb, zo = (int(v) for v in rng.integers(0, 256, 5))
    ratio = 2.0**reach
    real = (a - za) * (b - zb) * ratio + zo
    got = int(Product.of(np.array([ratio]), (za, zb), zo)(np.uint8(a), np.uint8(b)))
    fraction = next((f for f in range(6, 0, -1) if round(2.0 ** (f + 16) * ratio) < 2**15), 1)
    assert abs(got - min(max(real, 0), 255)) <= 0.5 + ratio + 0.5 ** (fraction + 1) + 0.02


def test_gelu_in_sixteen_bit_steps_matches_rational_arithmetic():
    for acc, m, so, zo, expected in GOLDEN["gelu_steps"]:
        steps = numerics.GeluSteps.of(so)
        assert steps is not None
        fine = np.float32(m) * np.float32(2.0**steps.fraction)
        assert int(numerics.requantize_gelu(np.int32(acc), fine, steps, zo, 0, 255)) == expected


@pytest.mark.parametrize("scale", [0.00191, 0.004, 0.0121, 0.03, 0.07, 0.5, 3.0])
def test_gelu_in_steps_is_a_quarter_of_a_step_from_the_function(scale):
    steps = numerics.GeluSteps.of(scale)
    assert steps is not None
    x = np.arange(-(2**15), 2**15)
    real = x * scale / 2**steps.fraction
    exact = real * 0.5 * (1 + np.array([math.erf(v / 2**0.5) for v in real]))
    away = np.abs(steps.gelu(x) / 2**steps.fraction - exact / scale)
    assert away.max() < (0.05 if scale > 0.01 else 0.25)


def test_steps_too_small_for_sixteen_bits_have_no_such_gelu():
    assert numerics.GeluSteps.of(0.0019) is None
