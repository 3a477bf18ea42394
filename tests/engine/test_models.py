"""Models of cycles, traffic and area, against loops, the simulation's own counters and the data sheet's limits."""

import msgspec
import numpy as np
import pytest
from helpers.engines import Z2, random_image, require_csim
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fpga.__main__ import macs_of
from benchmarks.fpga.codenet import codenet, codenet_header, with_random_numbers
from edgevision.engine import csim
from edgevision.engine.area import block_rams, use_of
from edgevision.engine.cycles import _chained, modelled
from edgevision.engine.hardware import checked, fingerprint, hardware, header_text
from edgevision.engine.network import Convolution, Group, Header
from edgevision.engine.program import compiled
from edgevision.errors import Unsupported, UsageError


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=20), st.integers(1, 9))
def test_a_process_begins_when_its_input_and_itself_are_ready(arrivals, cycles):
    expected, free = [], 0
    for arrival in arrivals:
        free = max(arrival, free) + cycles
        expected.append(free)
    # The model is for inputs that arrive in order, and for any first time.
    assert _chained(np.array(arrivals), cycles).tolist() == expected


def test_the_traffic_of_the_model_is_what_the_simulated_ports_moved():
    require_csim()
    network = codenet("codenet_b", side=64)
    calls = modelled(network, Z2)
    ports = csim.run(compiled(network, Z2), Z2, random_image(network.header)).ports
    assert sum(call.bytes for call in calls) == sum(port.beats for port in ports) * Z2.axi_bits // 8
    assert sum(call.read for call in calls) == next(port.beats for port in ports if port.name == "features")
    assert sum(call.write for call in calls) == next(port.beats for port in ports if port.name == "results")


def test_no_call_is_faster_than_its_slowest_part_or_than_the_memory():
    for call in modelled(codenet("codenet_a", spread=False), Z2, gb_s=0.5):
        slowest = max(call.pointwise, call.spatial, call.read, call.write)
        assert call.last - call.first > slowest
        assert call.last - call.first >= call.bytes * 0.2


def _block(limits):
    dilation = None if limits is None else "d"
    layers = [
        Convolution(name="d", input="input", channels=1, depth=256, kernel=1, limits=limits),
        Convolution(
            name="y", input="input", channels=256, depth=1, kernel=3, depthwise=True, group=0, dilation=dilation
        ),
        Convolution(name="z", input="y", channels=64, depth=256, kernel=1, group=0),
    ]
    layers = layers if limits is not None else layers[1:]
    header = Header(input_shape=(256, 32, 32), input_group=0, groups=(Group(0.1, -128),), layers=tuple(layers),
                    outputs=("z",))  # fmt: skip
    return modelled(with_random_numbers(header, spread=False), Z2)[-1]


def test_a_dilation_costs_no_more_than_the_rows_it_waits_for():
    plain, square = _block(None), _block((0, 7))
    assert square.spatial == plain.spatial and square.pointwise == plain.pointwise
    assert square.last - square.first < 1.1 * (plain.last - plain.first)


def test_the_depthwise_layer_hides_behind_the_1x1_layer():
    call = _block((0, 7))
    assert call.layers == ("y", "z") and call.bound == "1x1"
    assert call.pointwise > 0.85 * (call.last - call.first - call.fill)


def test_published_multiply_accumulates():
    # GMAC of the authors' table; theirs leave nothing out that ours have.
    for name, published in (("codenet_a", 0.29), ("codenet_c", 1.14), ("codenet_d", 3.54)):
        assert macs_of(codenet_header(name))[0] / 1e9 == pytest.approx(published, rel=0.05)


@pytest.mark.parametrize("target", ["pynq-z2", "ultra96"])
def test_presets_fit_their_parts(target):
    assert all(use.verdict != "no" for use in use_of(hardware(target)))


def test_an_engine_too_large_for_its_part_says_so():
    large = msgspec.structs.replace(Z2, columns=32, line_vectors=2048)
    assert {use.resource: use.verdict for use in use_of(large)} == {"DSP": "no", "BRAM36": "no"}


@pytest.mark.parametrize(
    ("width", "depth", "rams"), [(72, 512, 1), (73, 512, 1.5), (36, 1024, 1), (8, 16384, 4), (1, 1, 0.5)]
)
def test_block_rams_as_the_data_sheet_has_them(width, depth, rams):
    assert block_rams(width, depth) == rams


def test_the_header_has_every_size_and_programs_depend_on_them():
    text = header_text(Z2)
    assert "const int LANES = 16;" in text and "#define BURST_BEATS 16" in text
    assert fingerprint(Z2) != fingerprint(msgspec.structs.replace(Z2, columns=32))
    assert fingerprint(Z2) == fingerprint(msgspec.structs.replace(Z2, clock_mhz=125))


def test_sizes_that_cannot_be_built_are_refused_all_at_once():
    wrong = msgspec.structs.replace(Z2, lanes=12, line_rows=12, weight_blocks=1000, tile_vectors=9, scale_lanes=5)
    with pytest.raises(UsageError) as caught:
        checked(wrong, "here")
    assert len(caught.value.reasons) >= 5
    with pytest.raises(Unsupported, match="target 'rpi4' has no engine"):
        hardware("rpi4")
