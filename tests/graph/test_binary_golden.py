"""The numpy reference, torch and the compiled kernels against the golden vectors of NUMERICS.md section 13."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers import binaries
from helpers.walking import walk

from edgevision.compress.signs import kept_entries
from edgevision.graph import binary, numerics
from edgevision.resources import shipped

FOLDER = shipped("quant") / "golden"
GOLDEN = json.loads((FOLDER / "binary.json").read_text())


def array(vector: dict, name: str) -> np.ndarray:
    return np.array(vector[name], np.float32)


@pytest.mark.parametrize("vector", GOLDEN["linear"], ids=lambda vector: f"K={len(vector['x'])}")
def test_linear_layers(vector):
    x, expected = array(vector, "x")[None], np.array([vector["y"]], np.uint32)
    parts = np.array(vector["packed"], np.uint8), array(vector, "scale"), array(vector, "bias")
    got = binary.linear(x, *parts, x.shape[1])
    np.testing.assert_array_equal(got.view(np.uint32), expected)
    (compiled,) = walk(binaries.layer("BinaryLinear", x, *parts, x.shape[1]), x)
    np.testing.assert_array_equal(compiled.view(np.uint32), expected)


def test_signs_behind_a_gelu():
    for vector in GOLDEN["signs"]:
        sums = np.float32(vector["depth"]) - 2 * np.arange(vector["depth"] + 1, dtype=np.float32)
        values = sums * np.float32(vector["scale"]) + np.float32(vector["bias"])
        assert binary.sign(numerics.gelu(values)).tolist() == vector["signs"]


def test_attention():
    for vector in GOLDEN["attention"]:
        q, k, v = array(vector, "q")[None, None, None], *(array(vector, name)[None, None] for name in "kv")
        bias, scale, beta = array(vector, "bias")[None, None, None], vector["scale"], vector["beta"]
        assert binary.attention(q, k, v, bias, scale=scale, beta=beta).reshape(-1).tolist() == vector["y"]
        scores = torch.from_numpy(q @ k.swapaxes(-1, -2))
        assert kept_entries(scores, torch.from_numpy(bias), scale, beta).int().flatten().tolist() == vector["kept"]


@pytest.mark.parametrize("vector", GOLDEN["attention"][-8::3], ids=lambda vector: f"n={len(vector['k'])}")
def test_compiled_attention(vector):
    q, k, v = array(vector, "q")[None, None, None], *(array(vector, name)[None, None] for name in "kv")
    model = binaries.attention(q, k, v, array(vector, "bias")[None, None, None], vector["scale"], vector["beta"])
    assert walk(model, q, k, v)[0].reshape(-1).tolist() == vector["y"]


def test_golden_file_is_what_its_program_makes():
    code = "import json, make_binary; print(json.dumps(make_binary.vectors()))"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=FOLDER).stdout
    assert json.loads(made) == GOLDEN
