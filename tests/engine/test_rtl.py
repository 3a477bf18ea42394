"""The engine in SystemVerilog gives the bytes of the reference behind any memory, in the cycles of the model."""

import msgspec
import numpy as np
import pytest
from helpers.engines import SMALL, Z2, random_image
from helpers.integers import CASES, network_of
from helpers.layers_of_integers import dense, depthwise, network
from helpers.tools import need
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fpga.codenet import codenet
from benchmarks.rtl.calls import comparable
from edgevision.engine import rtlsim
from edgevision.engine.execute import run
from edgevision.engine.maps import read_map, write_image
from edgevision.engine.network import MaxPool, Requantise
from edgevision.engine.program import compiled
from edgevision.errors import Mismatch, Unsupported

BUSY = rtlsim.Memory(read_latency=7, write_latency=3, gb_s=0.6, stall_percent=30)


@pytest.fixture(autouse=True)
def _tools():
    need("verilator", "g++", "make")


def agree(one, engine, image, *, fuse=True, behind=None):
    """Run on the RTL, on memory full of rubbish, and compare every tensor that reaches memory."""
    program = compiled(one, engine, fuse=fuse, keep=True)
    memory = np.random.default_rng(1).integers(0, 256, program.header.map_bytes).astype(np.uint8)
    write_image(memory, program.header, image)
    done = rtlsim.execute(program.words, engine, memory, behind)
    assert len(done.call_ends) == len(program.header.calls)
    wanted = run(one, image)
    for stored in program.header.outputs:
        assert np.array_equal(read_map(memory, program.header, stored), wanted[stored.name]), stored.name
    return done


@pytest.mark.parametrize("name", CASES)
def test_every_tensor_is_that_of_the_golden_vector(name):
    agree(network_of(CASES[name]), SMALL, np.array(CASES[name]["image"], np.int8))


def test_the_engine_of_the_board_agrees_behind_a_busy_memory():
    # 16 lanes, and everything in one network: both orders, deformable, two passes, the first layer, tensors read twice.
    image = np.array(CASES["network"]["image"], np.int8)
    quiet = agree(network_of(CASES["network"]), Z2, image)
    busy = agree(network_of(CASES["network"]), Z2, image, behind=BUSY)
    assert busy.cycles > quiet.cycles
    assert all(port.longest <= Z2.burst_beats for port in busy.ports)


# A row of the line buffer has 32 vectors, so that wide maps of many channels would be split into several calls.
shapes = st.tuples(st.integers(1, 24), st.integers(1, 17), st.integers(1, 10))


@settings(max_examples=8, deadline=None)
@given(shapes, st.integers(1, 30), st.sampled_from([1, 2]), st.sampled_from([4, 8]), st.integers(0, 99))
def test_pointwise(shape, channels, stride, bits, seed):
    one = network(shape, dense("y", "input", channels, shape[0], stride=stride, bits=bits), seed=seed)
    agree(one, SMALL, random_image(one.header, seed), behind=BUSY if seed % 2 else None)


@settings(max_examples=12, deadline=None)
@given(shapes, st.sampled_from([1, 2]), st.integers(0, 7), st.integers(0, 7), st.integers(0, 99))
def test_square_deformable(shape, stride, low, high, seed):
    low, high = min(low, high), max(low, high)
    one = network(
        shape,
        dense("d", "input", 1, shape[0], stride=stride, bits=8, group=None, limits=(low, high)),
        depthwise("y", "input", shape[0], stride=stride, dilation="d"),
        dense("z", "y", 5, shape[0]),
        seed=seed,
    )
    agree(one, SMALL, random_image(one.header, seed), fuse=bool(seed % 2))


@pytest.mark.parametrize("dilation", [0, 1, 7])
def test_one_dilation_everywhere_and_beyond_the_frame(dilation):
    one = network(
        (10, 17, 9),
        dense("d", "input", 1, 10, group=None, limits=(dilation, dilation)),
        depthwise("y", "input", 10, dilation="d"),
        outputs=("y",),
    )
    agree(one, SMALL, random_image(one.header), behind=BUSY)


@pytest.mark.parametrize("order", ["pointwise_first", "spatial_first"])
def test_two_layers_in_one_call(order):
    layers = (dense("a", "input", 13, 11), depthwise("b", "a", 13, stride=2))
    if order == "spatial_first":
        layers = (depthwise("a", "input", 11, stride=2), dense("b", "a", 13, 11))
    one = network((11, 9, 11), *layers)
    assert len(agree(one, SMALL, random_image(one.header)).call_ends) == 1


@settings(max_examples=6, deadline=None)
@given(shapes, st.integers(0, 31), st.integers(0, 99))
def test_every_shift_and_the_maximum(shape, shift, seed):
    one = network(shape, Requantise(name="r", input="input", shift=shift, group=1), MaxPool(name="y", input="r"),
                  seed=seed)  # fmt: skip
    agree(one, SMALL, random_image(one.header, seed))


@pytest.mark.parametrize(("multiplier", "bias"), [(1, 0), (-1, 3), (32767, 32767), (-32768, -32768)])
def test_ties_round_up_and_extremes_are_cut(multiplier, bias):
    # With shift 1 every odd product is a tie.
    one = network((8, 4, 4), dense("y", "input", 8, 8, shift=1))
    numbers = one.parameters["y"]
    numbers.multiplier[:], numbers.bias[:] = multiplier, bias
    numbers.weight[:] = np.eye(8, dtype=np.int8)[:, :, None, None]
    agree(one, SMALL, random_image(one.header))


def test_extremes_of_weights_and_bytes_reach_the_same_sums():
    # All weights -8 and all bytes -128 is what the packed products leave least room for.
    for weight, byte in ((-8, -128), (7, -128), (-8, 127)):
        one = network((256, 2, 2), dense("y", "input", 16, 256, shift=16))
        numbers = one.parameters["y"]
        numbers.weight[::2], numbers.weight[1::2] = weight, -8 if weight == 7 else 7
        numbers.multiplier[:], numbers.bias[:] = 29, 131
        agree(one, Z2, np.full((256, 2, 2), byte, np.int8))


@pytest.fixture(scope="module")
def calls():
    return comparable(codenet("codenet_a", spread=False), Z2)


# A 1x1 layer, a depthwise one before it, a deformable one before it, and a call that the memory bounds.
@pytest.mark.parametrize("index", [3, 20, 41, 47])
def test_the_model_of_cycles_is_within_5_percent(calls, index):
    memory = np.zeros(calls[index].map_bytes, np.uint8)
    counted = rtlsim.execute(calls[index].words, Z2, memory).cycles
    assert abs(calls[index].modelled.last / counted - 1) < 0.05


def test_a_program_that_would_hang_is_stopped():
    program = compiled(network_of(CASES["pointwise"]), SMALL)
    words = program.words.copy()
    # One pixel more to store than is made.
    at = next(i for i in range(len(words) - 3, 0, -1) if int(words[i]) & 15 == 9 and int(words[i]) >> 32 == 3)
    words[at + 2] += 1
    with pytest.raises(Mismatch, match="has moved nothing for 200000 cycles; 0 calls have ended"):
        rtlsim.execute(words, SMALL, np.zeros(program.header.map_bytes + 4096, np.uint8))


def test_a_burst_outside_the_memory_is_refused():
    program = compiled(network_of(CASES["pointwise"]), SMALL)
    with pytest.raises(Mismatch, match=r"a burst of '(features|results)' .* leaves the memory"):
        rtlsim.execute(program.words, SMALL, np.zeros(8, np.uint8))


def test_sizes_the_rtl_cannot_have_are_named():
    with pytest.raises(Unsupported, match="2 multipliers"):
        rtlsim.parameters(msgspec.structs.replace(SMALL, scale_lanes=2))
