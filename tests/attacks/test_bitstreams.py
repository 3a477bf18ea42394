"""Bitstreams and hardware descriptions nobody vouches for."""

import numpy as np
import pytest
from helpers.bitstreams import HWH, bit
from helpers.engines import Z2

from edgevision.engine.bitstream import read, require, swapped, window_of
from edgevision.engine.hardware import fingerprint
from edgevision.errors import Mismatch, UsageError


def test_the_head_names_part_and_engine():
    found = read(bit(), "engine.bit")
    assert (found.part, found.engine) == ("7z020clg400", fingerprint(Z2))
    require(found, Z2, "engine.bit")
    words = np.frombuffer(found.words, ">u4")
    assert np.array_equal(np.frombuffer(swapped(found), "<u4"), words)
    assert swapped(found)[4:8] == bytes.fromhex("665599aa")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bit(part="7z010clg400"), "expected one for part xc7z020clg400-1, got one for '7z010clg400'"),
        (bit(user="deadbeef"), f"expected engine {fingerprint(Z2)} as user id, got deadbeef"),
        (bit(user=""), "as user id, got none"),
    ],
)
def test_the_wrong_bitstream_is_named(content, message):
    with pytest.raises(Mismatch) as caught:
        require(read(content, "engine.bit"), Z2, "engine.bit")
    assert any(message in reason for reason in caught.value.reasons)


@pytest.mark.parametrize("size", [0, 5, 13, 20, 40, -1, -9])
def test_a_part_of_a_bitstream_is_refused(size):
    with pytest.raises(UsageError, match="another file or a part of one"):
        read(bit()[:size], "engine.bit")


def test_random_damage_is_refused_or_read():
    rng = np.random.default_rng(0)
    good = bit()
    for _ in range(300):
        data = bytearray(good)
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            read(bytes(data), "engine.bit")
        except UsageError:
            continue


@pytest.mark.parametrize("content", [b"\0" * 64, bit() + b"more", bit(words=b"\xff" * 64)])
def test_other_files_are_refused(content):
    with pytest.raises(UsageError):
        read(content, "engine.bit")


def test_the_description_says_where_the_registers_are():
    assert window_of(HWH, "engine.hwh") == (0x40000000, 0x10000)
    for content in (HWH.replace(b"engine", b"dma"), b"<a", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", b"<a/>"):
        with pytest.raises(UsageError):
            window_of(content, "engine.hwh")
