"""Files of integer networks that lie: about sizes, names, groups, numbers, or what follows them."""

import json

import numpy as np
import pytest
from helpers.integers import CASES, network_of
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevision.engine import fileformat
from edgevision.errors import UsageError

GOOD = fileformat.to_bytes(network_of(CASES["network"]))
SIZE = int.from_bytes(GOOD[8:12], "little")
HEADER = json.loads(GOOD[12 : 12 + SIZE])


def file_of(header, rest=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return b"EVINTNET" + len(text).to_bytes(4, "little") + text + (GOOD[12 + SIZE :] if rest is None else rest)


def refused(data, match=""):
    with pytest.raises(UsageError, match=match):
        fileformat.from_bytes(data)


@pytest.mark.parametrize("data", [b"", b"EVINTNET", b"EVINTNET\0\0", b"PK\3\4" + bytes(99), GOOD[1:]])
def test_what_is_no_such_file(data):
    refused(data, "EVINTNET")


@pytest.mark.parametrize("size", [SIZE + 2**20, 2**32 - 1, len(GOOD)])
def test_a_header_longer_than_the_file(size):
    refused(GOOD[:8] + size.to_bytes(4, "little") + GOOD[12:], "claims")


@pytest.mark.parametrize("cut", [1, 2, 17, 200])
def test_a_file_cut_short(cut):
    refused(GOOD[:-cut], "bytes")


@pytest.mark.parametrize("more", [b"\0", bytes(4096), GOOD])
def test_bytes_behind_the_end(more):
    refused(GOOD + more, "the file has")


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        (("schema",), "edgevision.integer_network/9", "schema"),
        (("input_shape",), [3, 1 << 30, 1 << 30], "sizes"),
        (("input_shape",), [0, 16, 16], "sizes"),
        (("input_shape",), [3, -16, 16], "sizes"),
        (("input_group",), 7, "group 7"),
        (("groups", 0, "scale"), 0.0, "scale above 0"),
        (("groups", 0, "zero"), 300, "zero point"),
        (("outputs",), ["nothing"], "outputs"),
        (("outputs",), [], "outputs"),
        (("outputs",), ["deform.map"], "outputs"),
        (("layers", 0, "channels"), 1 << 40, "sizes"),
        (("layers", 0, "channels"), 9, ""),
        (("layers", 0, "depth"), 1 << 20, "depth"),
        (("layers", 0, "kernel"), 5, "kernel"),
        (("layers", 0, "stride"), 0, "stride"),
        (("layers", 0, "bits"), 2, "bits"),
        (("layers", 0, "bits"), 4, ""),
        (("layers", 0, "shift"), 64, "shift"),
        (("layers", 0, "shift"), -1, "shift"),
        (("layers", 0, "group"), 2, "ReLU"),
        (("layers", 0, "input"), "head", "nothing before it makes"),
        (("layers", 1, "count"), 99, "channels"),
        (("layers", 1, "name"), "stem", "name of its own"),
        (("layers", 6, "inputs"), ["left", "deep"], "different groups"),
        (("layers", 6, "inputs"), [], "something to read"),
        (("layers", 7, "parts"), 3, "shuffles"),
        (("layers", 7, "parts"), 0, "shuffles"),
        (("layers", 8, "limits"), [0, 9], "limits"),
        (("layers", 8, "limits"), [5, 2], "limits"),
        (("layers", 9, "dilation"), "mixed", "map of dilations"),
        (("layers", 9, "dilation"), "nothing", "nothing before it makes"),
        (("layers", 10, "input"), "deform.map", "as activations"),
    ],
)  # fmt: skip
def test_a_header_that_contradicts_itself_or_the_numbers(path, value, match):
    header = json.loads(json.dumps(HEADER))
    place = header
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    refused(file_of(header), match)


@pytest.mark.parametrize(
    "header",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"schema":1}', b"[" * 100_000, json.dumps({**HEADER, "more": 1}).encode()],
)
def test_a_header_that_cannot_be_read(header):
    refused(file_of(header), "header")


def test_a_gap_between_arrays_that_is_not_zero():
    data = bytearray(GOOD)
    gap = 12 + SIZE
    assert gap % 16
    data[gap] = 1
    refused(bytes(data), "zeros between")


def test_the_last_half_byte_of_odd_weights_that_is_not_zero():
    good = fileformat.to_bytes(network_of(CASES["depthwise"]))
    weight = np.array(CASES["depthwise"]["parameters"]["y"]["weight"])
    begin = -(-(12 + int.from_bytes(good[8:12], "little")) // 16) * 16
    data = bytearray(good)
    data[begin + weight.size // 2] |= 0x30
    refused(bytes(data), "not written as")


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
@settings(max_examples=150, deadline=None)
def test_any_byte_changed_is_refused_or_reads_as_another_network(position, change):
    data = bytearray(GOOD)
    data[position] ^= change
    try:
        network = fileformat.from_bytes(bytes(data))
    except UsageError:
        return
    assert fileformat.to_bytes(network) == bytes(data)


def test_a_file_too_large_is_not_read(tmp_path):
    path = tmp_path / "n"
    with path.open("wb") as file:
        file.truncate(fileformat.LARGEST_FILE + 1)
    with pytest.raises(UsageError, match="at most"):
        fileformat.read(path)
