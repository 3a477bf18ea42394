"""Maps whose rows are longer than the line buffer give the bytes of the reference, whatever the layer."""

import msgspec
import pytest
from helpers.engines import SMALL, Z2, agree, random_image, require_csim
from helpers.layers_of_integers import dense, depthwise, network
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevision.engine.lower import lower
from edgevision.engine.network import Concat, Convolution, MaxPool, Requantise, Upsample
from edgevision.engine.program import compiled
from edgevision.engine.validate import validated
from edgevision.errors import Unsupported

#: As SMALL, with room for the rows a dilation reaches.
DEEP = msgspec.structs.replace(SMALL, planes=24, tile_vectors=48, weight_blocks=64)


@pytest.fixture(autouse=True)
def _csim():
    require_csim()


# More than the 32 vectors that SMALL has room for.
wide = st.tuples(st.integers(1, 12), st.integers(1, 9), st.integers(17, 30).map(lambda half: 2 * half))


@settings(max_examples=15, deadline=None)
@given(wide, st.sampled_from([1, 3]), st.sampled_from([1, 2, 4]), st.integers(0, 99))
def test_depthwise(shape, kernel, stride, seed):
    shape = (*shape[:2], 4 * shape[2])
    one = network(shape, depthwise("y", "input", shape[0], kernel=kernel, stride=stride), seed=seed)
    agree(one, SMALL, random_image(one.header, seed))


@settings(max_examples=15, deadline=None)
@given(wide, st.sampled_from([1, 2]), st.integers(0, 7), st.integers(0, 7), st.integers(0, 99))
def test_square_deformable(shape, stride, low, high, seed):
    low, high = min(low, high), max(low, high)
    shape = (shape[0], 3 * shape[1], 2 * shape[2])
    one = network(
        shape,
        dense("d", "input", 1, shape[0], stride=stride, bits=8, group=None, limits=(low, high)),
        depthwise("y", "input", shape[0], stride=stride, dilation="d"),
        dense("z", "y", 5, shape[0]),
        outputs=("z",),
        seed=seed,
    )
    agree(one, DEEP, random_image(one.header, seed), fuse=bool(seed % 2))


@settings(max_examples=15, deadline=None)
@given(wide, st.integers(1, 20), st.sampled_from([1, 2]), st.sampled_from([1, 3]), st.sampled_from([4, 8]),
       st.integers(0, 99))  # fmt: skip
def test_dense(shape, channels, stride, kernel, bits, seed):
    shape = (shape[0], shape[1], 2 * shape[2])
    fields = {"stride": stride, "kernel": kernel, "bits": bits}
    one = network(shape, dense("y", "input", channels, shape[0], **fields), seed=seed)
    agree(one, DEEP, random_image(one.header, seed))


@settings(max_examples=10, deadline=None)
@given(wide, st.integers(0, 99))
def test_what_moves_and_what_looks_at_bytes_alone(shape, seed):
    one = network(
        shape,
        Requantise(name="r", input="input", shift=0, group=0),
        Upsample(name="u", input="r"),
        MaxPool(name="m", input="u"),
        Upsample(name="v", input="u"),
        depthwise("y", "v", shape[0], stride=4),
        Concat(name="z", inputs=("m", "r")),
        outputs=("z", "y"),
        seed=seed,
    )
    agree(one, SMALL, random_image(one.header, seed))


def test_the_board_s_own_engine_takes_a_line_of_a_scanner():
    one = network(
        (3, 9, 4800),
        dense("stem", "input", 8, 3, kernel=3, stride=2, bits=8),
        dense("d", "stem", 1, 8, bits=8, group=None, limits=(0, 7)),
        depthwise("y", "stem", 8, dilation="d"),
        dense("z", "y", 5, 8),
        outputs=("z",),
    )
    program = agree(one, Z2, random_image(one.header), keep=False)
    assert program.header.image.cells == 0 and len(program.header.calls) > 3


def test_bands_overlap_by_what_a_kernel_reaches_and_no_more():
    header = network((1, 300, 1500), depthwise("y", "input", 1)).header
    calls = lower(network(header.input_shape, *header.layers), Z2).calls
    # 64 rows give 62; the first band has nothing above it.
    assert [len(call.reads) for call in calls] == [63, 64, 64, 64, 53]
    assert sum(len(call.reads) for call in calls) == 300 + 2 * 4


def test_rows_that_no_band_can_hold_are_refused_by_name():
    shape = (8, 20, 64)
    layers = (
        dense("d", "input", 1, 8, group=None, limits=(0, 7)),
        depthwise("y", "input", 8, dilation="d"),
    )
    with pytest.raises(Unsupported, match=r"(?s)layer 'y': a row of 64 pixels.*no band of rows that reaches 7 rows"):
        compiled(network(shape, *layers), SMALL)
    with pytest.raises(Unsupported, match="multiples of 16 bytes"):
        compiled(network((8, 20, 65), depthwise("y", "input", 8)), SMALL)


def test_every_program_of_bands_is_valid_and_stays_in_memory():
    for height in range(1, 30):
        one = network((2, height, 72), depthwise("y", "input", 2), MaxPool(name="z", input="y"))
        program = compiled(one, SMALL)
        assert validated(program, SMALL) is program


def test_the_1x1_layer_behind_a_window_counts_for_every_pixel():
    one = network((1, 4, 2000), Convolution(name="y", input="input", channels=1, depth=1, kernel=3, group=1))
    agree(one, Z2, random_image(one.header))
