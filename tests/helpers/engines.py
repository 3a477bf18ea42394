"""Engines that are simulated in tests, and the comparison of a simulation with the reference."""

from __future__ import annotations

import os

import msgspec
import numpy as np
import pytest

from edgevision.engine import csim
from edgevision.engine.execute import run
from edgevision.engine.hardware import checked, hardware
from edgevision.engine.network import Header, IntegerNetwork
from edgevision.engine.program import Program, compiled
from edgevision.engine.validate import validated
from edgevision.errors import ToolMissing
from edgevision.target import Engine

Z2 = hardware("pynq-z2")
#: So little on chip that ordinary layers are split, and another number of lanes.
SMALL = checked(
    msgspec.structs.replace(
        Z2, lanes=8, columns=8, scale_lanes=4, line_vectors=32, weight_blocks=32, planes=6, groups=40, tile_vectors=16
    ),
    "tests",
)
ENGINES = {"pynq-z2": Z2, "ultra96": hardware("ultra96"), "small": SMALL}


def require_csim() -> None:
    """Skip the test where the simulation cannot be built; on CI, where it can, fail it."""
    try:
        csim.ap_types()
    except ToolMissing as error:
        pytest.fail(str(error)) if os.environ.get("CI") == "true" else pytest.skip(str(error))


def agree(
    network: IntegerNetwork, engine: Engine, image: np.ndarray, *, fuse: bool = True, keep: bool = True
) -> Program:
    """Simulate `network` and compare every tensor that reaches memory; the program, for what else a test looks at."""
    program = validated(compiled(network, engine, fuse=fuse, keep=keep), engine)
    wanted = run(network, image)
    got = csim.run(program, engine, image).tensors
    assert set(network.header.outputs) <= set(got)
    for name, tensor in got.items():
        assert tensor.dtype == wanted[name].dtype
        assert np.array_equal(tensor, wanted[name]), name
    return program


def random_image(header: Header, seed: int = 0) -> np.ndarray:
    """An image of random bytes."""
    return np.random.default_rng(seed).integers(-128, 128, header.input_shape).astype(np.int8)
