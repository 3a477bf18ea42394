"""The C simulation of the engine gives the bytes of the reference, for every kind of layer, on every preset."""

import zlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from helpers.engines import ENGINES, SMALL, Z2, agree, random_image, require_csim
from helpers.integers import CASES, network_of
from helpers.networks import GROUPS, dense, depthwise, network
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fpga.codenet import codenet
from edgevision.engine import csim
from edgevision.engine.network import (
    Channels,
    Concat,
    Header,
    IntegerNetwork,
    MaxPool,
    Parameters,
    Requantise,
    Shuffle,
    Upsample,
)
from edgevision.engine.program import Program, compiled
from edgevision.engine.validate import validated
from edgevision.errors import Mismatch, Unsupported, UsageError

PUBLISHED = Path(__file__).parent / "codenet"


@pytest.fixture(autouse=True)
def _csim():
    require_csim()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CASES)
def test_every_tensor_is_that_of_the_golden_vector(name, engine):
    given_network = network_of(CASES[name])
    image = np.array(CASES[name]["image"], np.int8)
    for fuse in (False, True):
        program = compiled(given_network, ENGINES[engine], fuse=fuse, keep=True)
        got = csim.run(program, ENGINES[engine], image).tensors
        assert got
        for tensor, values in got.items():
            assert np.array_equal(values, CASES[name]["tensors"][tensor]), tensor


def test_the_published_accelerator_gives_the_same_bytes():
    with np.load(PUBLISHED / "d32_c64_k3.npz") as stored:
        x, weight, scale, bias, output = (stored[name] for name in ("input", "weight", "scale", "bias", "output"))
    channels, height, width = x.shape
    layer = depthwise("y", "input", channels, group=0, relu=True, shift=16)
    header = Header(
        input_shape=(channels, height, width), input_group=0, groups=GROUPS, layers=(layer,), outputs=("y",)
    )
    parameters = Parameters(scale.astype(np.int16), bias.astype(np.int16), weight)
    program = compiled(IntegerNetwork(header, {"y": parameters}), Z2)
    got = csim.run(program, Z2, x).tensors["y"]
    assert (got == output).sum() == 65536


sizes = st.tuples(st.integers(1, 40), st.integers(1, 12), st.integers(1, 12))


@settings(max_examples=25, deadline=None)
@given(sizes, st.integers(1, 40), st.sampled_from([1, 2, 4]), st.sampled_from([4, 8]), st.integers(0, 99))
def test_pointwise(shape, channels, stride, bits, seed):
    one = network(shape, dense("y", "input", channels, shape[0], stride=stride, bits=bits), seed=seed)
    agree(one, Z2, random_image(one.header, seed))


@settings(max_examples=25, deadline=None)
@given(sizes, st.integers(1, 20), st.sampled_from([1, 2, 4]), st.sampled_from([4, 8]), st.integers(0, 99))
def test_dense_3x3(shape, channels, stride, bits, seed):
    one = network(shape, dense("y", "input", channels, shape[0], kernel=3, stride=stride, bits=bits), seed=seed)
    agree(one, Z2, random_image(one.header, seed))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 2, 4]), st.integers(0, 99))
def test_the_first_layer_reads_several_pixels_at_once(height, channels, cells, stride, seed):
    width = 4 * cells - 1 if stride == 4 else 4 * cells
    one = network((3, 3 * height, width), dense("y", "input", channels, 3, kernel=3, stride=stride, bits=8), seed=seed)
    assert agree(one, Z2, random_image(one.header, seed)).header.image.cells == 4


@settings(max_examples=25, deadline=None)
@given(sizes, st.sampled_from([1, 3]), st.sampled_from([1, 2, 4]), st.sampled_from([4, 8]), st.integers(0, 99))
def test_depthwise(shape, kernel, stride, bits, seed):
    one = network(shape, depthwise("y", "input", shape[0], kernel=kernel, stride=stride, bits=bits), seed=seed)
    agree(one, Z2, random_image(one.header, seed))


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 24), st.integers(1, 24)),
    st.sampled_from([1, 2]), st.integers(0, 7), st.integers(0, 7), st.integers(0, 99),
)  # fmt: skip
def test_square_deformable(shape, stride, low, high, seed):
    low, high = min(low, high), max(low, high)
    one = network(
        shape,
        dense("d", "input", 1, shape[0], stride=stride, bits=8, group=None, limits=(low, high)),
        depthwise("y", "input", shape[0], stride=stride, dilation="d"),
        dense("z", "y", 5, shape[0]),
        seed=seed,
    )
    agree(one, Z2, random_image(one.header, seed), fuse=bool(seed % 2))


@pytest.mark.parametrize("dilation", range(8))
@pytest.mark.parametrize("stride", [1, 2])
def test_one_dilation_everywhere(dilation, stride):
    one = network(
        (18, 19, 17),
        dense("d", "input", 1, 18, stride=stride, group=None, limits=(dilation, dilation)),
        depthwise("y", "input", 18, stride=stride, dilation="d"),
        outputs=("y",),
    )
    agree(one, Z2, random_image(one.header))


@settings(max_examples=15, deadline=None)
@given(sizes, st.integers(0, 31), st.sampled_from([0, 1]), st.integers(0, 99))
def test_requantise_and_max_pool(shape, shift, group, seed):
    one = network(
        shape, Requantise(name="r", input="input", shift=shift, group=group), MaxPool(name="y", input="r"), seed=seed
    )
    agree(one, Z2, random_image(one.header, seed))


def test_extremes_of_weights_and_bytes_reach_the_same_sums():
    # All weights -8 and all bytes -128 is what the packed products leave least room for.
    for weight, byte in ((-8, -128), (7, -128), (-8, 127), (7, 127)):
        one = network((256, 2, 2), dense("y", "input", 16, 256, shift=16))
        given_one = one.parameters["y"]
        given_one.weight[::2], given_one.weight[1::2] = weight, -8 if weight == 7 else 7
        given_one.multiplier[:], given_one.bias[:] = 29, 131
        agree(one, Z2, np.full((256, 2, 2), byte, np.int8))


@pytest.mark.parametrize("order", ["pointwise_first", "spatial_first"])
def test_two_layers_in_one_call(order):
    layers = (dense("a", "input", 21, 19), depthwise("b", "a", 21, stride=2))
    if order == "spatial_first":
        layers = (depthwise("a", "input", 19, stride=2), dense("b", "a", 21, 19))
    one = network((19, 9, 11), *layers)
    program = agree(one, Z2, random_image(one.header))
    assert [call.layers for call in program.header.calls] == [("a", "b")]
    assert [stored.name for stored in program.header.outputs] == ["b"]


def test_channels_move_without_a_call():
    one = network(
        (20, 5, 6),
        dense("a", "input", 30, 20),
        Channels(name="left", input="a", first=0, count=15),
        Channels(name="right", input="a", first=15, count=15),
        Concat(name="joined", inputs=("right", "left", "right")),
        Shuffle(name="mixed", input="joined", parts=3),
        Upsample(name="up", input="mixed"),
        dense("y", "up", 7, 45),
        depthwise("z", "mixed", 45),
        outputs=("y", "z", "up"),
    )
    program = agree(one, Z2, random_image(one.header))
    assert [call.layers for call in program.header.calls] == [("a",), ("y",), ("z",)]


def test_four_pixels_for_one_are_written_out_once():
    one = network((3, 3, 2), Upsample(name="a", input="input"), Upsample(name="b", input="a"),
                  depthwise("y", "b", 3), outputs=("y", "b"))  # fmt: skip
    program = agree(one, Z2, random_image(one.header))
    assert [call.layers for call in program.header.calls] == [("a",), ("y",)]


def test_what_is_too_large_for_the_chip_is_split():
    one = network(
        (24, 9, 9),
        dense("a", "input", 48, 24, bits=8),
        depthwise("b", "a", 48),
        Channels(name="c", input="b", first=0, count=30),
        MaxPool(name="y", input="c"),
    )
    program = agree(one, SMALL, random_image(one.header))
    layers = [call.layers for call in program.header.calls]
    assert layers.count(("a",)) > 1 and layers.count(("b",)) > 1 and ("a", "b") not in layers


def test_a_small_detector_agrees_in_every_tensor_and_fits_its_fifos():
    one = codenet("codenet_b", side=64, classes=3)
    image = random_image(one.header)
    agree(one, Z2, image)
    program = compiled(one, Z2)
    done = csim.run(program, Z2, image)
    assert done.calls == len(program.header.calls)
    assert all(stream.largest <= stream.depth for stream in done.streams)
    assert all(port.longest <= Z2.burst_beats for port in done.ports)
    # Results are written once, and nothing but results.
    written = next(port.beats for port in done.ports if port.name == "results")
    assert written == sum(_pixels_written(program)) * 16 // 8


def _pixels_written(program):
    from edgevision.engine.fields import packets

    for packet in packets(program.words):
        if packet.receiver.name == "STORE":
            yield packet["pixels"] * packet["planes"]


def test_a_program_that_would_hang_the_engine_is_a_deadlock():
    program = compiled(network_of(CASES["pointwise"]), Z2)
    words = program.words.copy()
    # One pixel more to store than is made: the last word of the first word pair of the last packet.
    at = next(i for i in range(len(words) - 3, 0, -1) if int(words[i]) & 15 == 9 and int(words[i]) >> 32 == 3)
    words[at + 2] += 1
    with pytest.raises(Mismatch, match=r"deadlock: .* reads 'collected' \(0 of 32\)"):
        csim.execute(words, Z2, np.zeros(program.header.map_bytes + 4096, np.uint8))
    # The next run is not disturbed by it.
    agree(network_of(CASES["pointwise"]), Z2, np.array(CASES["pointwise"]["image"], np.int8))


def test_a_burst_outside_the_memory_stops_the_run():
    program = compiled(network_of(CASES["pointwise"]), Z2)
    with pytest.raises(Mismatch, match=r"a burst of '(features|results)' at byte \d+ leaves the memory"):
        csim.execute(program.words, Z2, np.zeros(64, np.uint8))


def test_a_program_for_another_engine_or_another_image_is_refused():
    program = compiled(network_of(CASES["pointwise"]), Z2)
    with pytest.raises(Unsupported, match="the program is for engine"):
        csim.run(program, SMALL, np.zeros((5, 3, 4), np.int8))
    with pytest.raises(UsageError, match="expected an int8 image"):
        csim.run(program, Z2, np.zeros((5, 3, 5), np.int8))


def test_whatever_passes_the_checks_ends_and_stays_inside_its_memory():
    program = compiled(network_of(CASES["network"]), Z2)
    rng = np.random.default_rng(0)
    ran = 0
    for index in rng.choice(len(program.words), 300):
        words = program.words.copy()
        words[index] ^= np.uint64(1) << np.uint64(rng.integers(64))
        header = msgspec.structs.replace(program.header, check=zlib.crc32(words.tobytes()))
        try:
            validated(Program(header, words), Z2)
        except UsageError:
            continue
        ran += 1
        csim.execute(words, Z2, np.zeros(program.header.map_bytes, np.uint8))
    assert ran > 50
