"""Engine programs nobody vouches for: refused before an engine is given the first word."""

import dataclasses
import zlib

import msgspec
import numpy as np
import pytest
from helpers.engines import SMALL, Z2
from helpers.integers import CASES, network_of

from benchmarks.fpga.codenet import codenet
from edgevision.engine import programfile
from edgevision.engine.network import INPUT
from edgevision.engine.packets import Receiver
from edgevision.engine.program import compiled
from edgevision.engine.validate import validated
from edgevision.errors import EdgeVisionError, Unsupported, UsageError

PROGRAM = compiled(network_of(CASES["network"]), Z2)


def rewritten(words, **header):
    """The program with other words, whose header fits them."""
    header = {"words": len(words), "check": zlib.crc32(words.tobytes()), **header}
    return dataclasses.replace(PROGRAM, words=words, header=msgspec.structs.replace(PROGRAM.header, **header))


def at(receiver, call=0):
    """Index of the first word of a packet, behind its head."""
    index = PROGRAM.header.calls[call].first
    while int(PROGRAM.words[index]) & 15 != receiver:
        index += 1 + (int(PROGRAM.words[index]) >> 32)
    return index + 1


@pytest.mark.parametrize("size", [0, 7, 11, 12, 400, -8, -1])
def test_a_part_of_a_file(size):
    with pytest.raises(UsageError):
        programfile.from_bytes(programfile.to_bytes(PROGRAM)[:size])


def test_more_than_the_file():
    with pytest.raises(UsageError, match="bytes of words"):
        programfile.from_bytes(programfile.to_bytes(PROGRAM) + bytes(8))


def test_a_header_that_claims_more_than_there_is():
    data = bytearray(programfile.to_bytes(PROGRAM))
    data[8:12] = b"\xff\xff\xff\xff"
    with pytest.raises(UsageError, match="got another file or a part of one"):
        programfile.from_bytes(bytes(data))


def test_a_file_of_another_kind_or_none(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        programfile.read(tmp_path / "missing", Z2)
    (tmp_path / "text").write_text("EVINTNET and so on")
    with pytest.raises(UsageError, match="another file"):
        programfile.read(tmp_path / "text", Z2)


def test_a_changed_word_is_noticed():
    words = PROGRAM.words.copy()
    words[at(Receiver.WEIGHTS)] ^= np.uint64(1)
    with pytest.raises(UsageError, match="CRC-32"):
        validated(dataclasses.replace(PROGRAM, words=words), Z2)


def test_a_program_for_another_engine_or_version():
    with pytest.raises(Unsupported, match="for engine"):
        validated(PROGRAM, SMALL)
    older = msgspec.structs.replace(PROGRAM.header, schema="edgevision.engine_program/0")
    with pytest.raises(Unsupported, match="engine_program/0"):
        validated(dataclasses.replace(PROGRAM, header=older), Z2)


@pytest.mark.parametrize(
    ("receiver", "word", "low", "bits", "value", "message"),
    [
        (Receiver.LOAD, 0, 16, 16, 0, "planes"),
        (Receiver.LOAD, 0, 16, 16, 145, "planes"),
        (Receiver.LOAD, 0, 32, 16, 0, "tiles of 0 pixels"),
        (Receiver.LOAD, 0, 32, 16, 9, "longer than a burst"),
        (Receiver.LOAD, 0, 48, 16, 9, "9 calls ahead"),
        (Receiver.LOAD, 1, 32, 32, 1 << 31, "differ"),
        (Receiver.LOAD, 2, 0, 32, 1 << 20, "bytes"),
        (Receiver.STORE, 2, 0, 32, 0xFFFFFFF0, "bytes"),
        (Receiver.STORE, 2, 0, 32, 2, "multiple of 16"),
        (Receiver.STORE, 1, 0, 32, 0, "STORE and COLLECT differ"),
        (Receiver.SPATIAL, 0, 16, 16, 0, "SPATIAL"),
        (Receiver.SPATIAL, 0, 32, 4, 8, "reach 8"),
        (Receiver.SPATIAL, 0, 4, 2, 3, "mode 3"),
        (Receiver.SPATIAL, 1, 32, 32, 5000, "rows of 5000 pixels"),
        (Receiver.SPATIAL, 2, 0, 32, 3000, "3000 rows out of"),
        (Receiver.SPATIAL_SCALE, 1, 0, 8, 32, "shift 32"),
        (Receiver.POINTWISE, 0, 16, 16, 0, "POINTWISE"),
        (Receiver.POINTWISE, 0, 32, 16, 2000, "blocks"),
        (Receiver.POINTWISE_SCALE, 1, 32, 16, 0, "0 kept"),
        (Receiver.POINTWISE, 0, 1, 1, 0, "do not agree on who passes data"),
        (Receiver.POINTWISE, 0, 8, 1, 1, "bits that mean nothing"),
    ],
)  # fmt: skip
def test_one_field_out_of_bounds(receiver, word, low, bits, value, message):
    words = PROGRAM.words.copy()
    index, mask = at(receiver) + word, ((1 << bits) - 1) << low
    words[index] = int(words[index]) & ~mask | value << low
    with pytest.raises(UsageError, match=message):
        validated(rewritten(words), Z2)


def test_reading_before_the_result_is_there():
    words = PROGRAM.words.copy()
    index = at(Receiver.LOAD, call=1)
    assert int(words[index]) >> 48 == 0
    words[index] = int(words[index]) | 1 << 48
    with pytest.raises(UsageError, match="may begin before call 0, whose result it reads, has ended"):
        validated(rewritten(words), Z2)


def test_writing_over_what_is_read():
    words = PROGRAM.words.copy()
    words[at(Receiver.STORE) + 2] = words[at(Receiver.LOAD) + 2]
    with pytest.raises(UsageError, match="writes where the call reads"):
        validated(rewritten(words), Z2)


def test_tensors_outside_the_memory():
    image = PROGRAM.header.image
    wrong = {
        "a plane at": msgspec.structs.replace(image.stored, planes=((1 << 40, False),)),
        "channels at": msgspec.structs.replace(image.stored, channels=((0, 0), (1, 0), (0, 16))),
        "places for": msgspec.structs.replace(image.stored, channels=((0, 0),)),
    }
    for message, stored in wrong.items():
        assert stored.name == INPUT
        header = msgspec.structs.replace(PROGRAM.header, image=msgspec.structs.replace(image, stored=stored))
        with pytest.raises(UsageError, match=message):
            validated(dataclasses.replace(PROGRAM, header=header), Z2)


def test_random_damage_is_refused_or_harmless():
    program = compiled(codenet("codenet_a", side=32, spread=False), Z2)
    weights = set()
    for call in program.header.calls:
        index = call.first
        while index < call.first + call.count:
            count = int(program.words[index]) >> 32
            # Numbers of layers may be anything.
            if int(program.words[index]) & 15 in (Receiver.WEIGHTS, Receiver.SPATIAL, Receiver.SPATIAL_SCALE,
                                                  Receiver.POINTWISE_SCALE):  # fmt: skip
                weights |= set(range(index + 4, index + 1 + count))
            index += 1 + count
    rng = np.random.default_rng(0)
    refused = 0
    structure = [index for index in range(len(program.words)) if index not in weights]
    for index in rng.choice(structure, 150):
        words = program.words.copy()
        words[index] ^= np.uint64(1) << np.uint64(rng.integers(64))
        header = msgspec.structs.replace(program.header, check=zlib.crc32(words.tobytes()))
        try:
            validated(dataclasses.replace(program, words=words, header=header), Z2)
        except EdgeVisionError as error:
            refused += 1
            assert error.reasons or isinstance(error, Unsupported)
    # What passes changes bytes, not what is read and written: an address of another plane, a zero point, a clamp.
    assert refused > 110
