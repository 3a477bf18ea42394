"""Whether a program can be run: everything is checked before an engine is given the first word.

A program that passes reads and writes inside its memory only, and every process reads as much as another one writes,
so that it ends.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from itertools import pairwise

from edgevision.engine.calls import DEPTHWISE, IM2COL, MAXIMUM
from edgevision.engine.fields import Packet, packets
from edgevision.engine.hardware import fingerprint
from edgevision.engine.packets import MOST_AHEAD, Receiver
from edgevision.engine.program import SCHEMA, Program, Stored
from edgevision.errors import Unsupported, UsageError
from edgevision.graph.sampling import LARGEST_DILATION
from edgevision.target import Engine

#: Most bytes of feature maps, and words of a program.
LARGEST_MAPS, LARGEST_PROGRAM = 1 << 29, 1 << 25
_FIX = "compile the network again"
_ORDER = [receiver.name for receiver in (
    Receiver.LOAD, Receiver.ARRANGE, Receiver.DILATION, Receiver.POINTWISE, Receiver.WEIGHTS, Receiver.SPATIAL,
    Receiver.SPATIAL_SCALE, Receiver.POINTWISE_SCALE, Receiver.COLLECT, Receiver.STORE)]  # fmt: skip


def validated(program: Program, engine: Engine, where: str = "engine program") -> Program:
    """Return `program` when `engine` can run it.

    Raises:
        Unsupported: it was made for another engine.
        UsageError: it is damaged or contradicts itself; every reason is named.
    """
    header = program.header
    if header.engine != fingerprint(engine) or header.schema != SCHEMA:
        raise Unsupported(
            f"expected a program {SCHEMA} for engine {fingerprint(engine)}, got {header.schema} for {header.engine}",
            where=where, fix="compile the network for this target",
        )  # fmt: skip
    reasons = _header_reasons(program, engine)
    if not reasons:
        writes: list[list[range]] = []
        for index, one in enumerate(header.calls):
            found = list(packets(program.words[one.first : one.first + one.count]))
            broken = [item for item in found if isinstance(item, str)]
            call = _Call({item.receiver.name: item for item in found if isinstance(item, Packet)}, engine)
            names = [item.receiver.name for item in found if isinstance(item, Packet)]
            wrong = broken or call.order(names) or call.reasons(header.map_bytes) or call.hazards(writes)
            reasons += [f"call {index} ({', '.join(one.layers)}): {reason}" for reason in wrong]
            if wrong:
                break
            writes.append(call.written())
    if reasons:
        raise UsageError("the program cannot be run", where=where, fix=_FIX, reasons=reasons)
    return program


def _header_reasons(program: Program, engine: Engine) -> list[str]:
    header, words = program.header, program.words
    reasons = []
    if header.lanes != engine.lanes:
        reasons.append(f"expected {engine.lanes} lanes, got {header.lanes}")
    if not 0 < header.map_bytes <= LARGEST_MAPS:
        reasons.append(f"expected 1 to {LARGEST_MAPS} bytes of feature maps, got {header.map_bytes}")
    if len(words) != header.words or header.words > LARGEST_PROGRAM:
        reasons.append(f"expected {header.words} words, at most {LARGEST_PROGRAM}, got {len(words)}")
    elif zlib.crc32(words.tobytes()) != header.check:
        reasons.append("the words are not those the header was written for: their CRC-32 differs")
    first = 0
    for index, call in enumerate(header.calls):
        if call.first != first or call.count < 1:
            reasons.append(f"call {index}: expected words from {first} on, got {call.count} from {call.first}")
            break
        first += call.count
    if not reasons and first != header.words:
        reasons.append(f"expected calls of {header.words} words in all, got {first}")
    if header.image.cells not in (0, engine.lanes // 4):
        reasons.append(f"expected 0 or {engine.lanes // 4} pixels to a cell, got {header.image.cells}")
    for stored in (header.image.stored, *header.outputs):
        reasons += _stored_reasons(stored, program)
    return reasons


def _stored_reasons(stored: Stored, program: Program) -> list[str]:
    header = program.header
    channels, height, width = stored.shape
    cells = header.image.cells if stored.name == header.image.stored.name else 0
    reasons = []
    if min(stored.shape) < 1 or len(stored.channels) != channels:
        reasons.append(f"tensor '{stored.name}': {len(stored.channels)} places for {stored.shape}")
    for address, twice in stored.planes:
        size = height * (-(-width // cells) if cells else width) * header.lanes // (4 if twice else 1)
        if address < 0 or address % 16 or address + size > header.map_bytes:
            reasons.append(f"tensor '{stored.name}': a plane at {address}, expected one of {size} bytes inside "
                           f"{header.map_bytes}, at a multiple of 16")  # fmt: skip
        if twice and (height % 2 or width % 2):
            reasons.append(f"tensor '{stored.name}': {height}x{width} pixels, read twice")
    bad = [place for place in stored.channels
           if not (0 <= place[0] < len(stored.planes) and 0 <= place[1] < header.lanes)]  # fmt: skip
    if bad:
        reasons.append(f"tensor '{stored.name}': channels at {bad[:3]}, of {len(stored.planes)} planes and "
                       f"{header.lanes} lanes")  # fmt: skip
    return reasons


@dataclass
class _Call:
    """The packets of one call, by name of their receiver."""

    has: dict[str, Packet]
    engine: Engine

    def order(self, names: list[str]) -> list[str]:
        """What is wrong with which packets there are."""
        unit = {"SPATIAL": ("SPATIAL", "SPATIAL_SCALE"), "POINTWISE": ("POINTWISE", "WEIGHTS", "POINTWISE_SCALE")}
        wanted = {"LOAD", "ARRANGE", "COLLECT", "STORE"}
        for lead, all_ in unit.items():
            wanted |= set(all_) if lead in names else set()
        wanted |= {"DILATION"} if "DILATION" in names else set()
        expected = [name for name in _ORDER if name in wanted]
        if names != expected or not {"SPATIAL", "POINTWISE"} & set(names):
            return [f"expected packets for {', '.join(expected)}, got {', '.join(names)}"]
        return []

    def reasons(self, map_bytes: int) -> list[str]:
        """What is wrong inside and between the packets."""
        alone = [*self._routing(), *self._moving(), *self._spatial(), *self._pointwise()]
        return alone or [*self._counts(), *self._addresses(map_bytes)]

    def _routing(self) -> list[str]:
        has = self.has
        spatial, pointwise = has.get("SPATIAL"), has.get("POINTWISE")
        ends = {"load": has["ARRANGE"]["to_spatial"], "store": has["COLLECT"]["from_spatial"]}
        if spatial is None or pointwise is None:
            alone = "POINTWISE" if spatial is None else "SPATIAL"
            wanted = {"load": int(spatial is not None), "store": int(spatial is not None)}
            scale = has[f"{alone}_SCALE"]
            linked = has[alone]["from_spatial" if spatial is None else "from_pointwise"]
            good = ends == wanted and scale["to_store"] == 1 and not linked
        else:
            first = ends["load"]
            good = ends == {"load": first, "store": 1 - first}
            good &= spatial["from_pointwise"] == 1 - first and pointwise["from_spatial"] == first
            good &= has["SPATIAL_SCALE"]["to_store"] == 1 - first and has["POINTWISE_SCALE"]["to_store"] == first
        deformable = {has["LOAD"]["dilation"], int("DILATION" in has), spatial["deformable"] if spatial else 0}
        return [] if good and len(deformable) == 1 else ["the packets do not agree on who passes data to whom"]

    def _moving(self) -> list[str]:
        engine, reasons = self.engine, []
        for name, twin in (("LOAD", "ARRANGE"), ("STORE", "COLLECT")):
            one, other = self.has[name], self.has[twin]
            same = [field for field in ("planes", "tile", "rows", "width", "pixels") if field in one.fields]
            if any(one[field] != other[field] for field in same):
                reasons.append(f"{name} and {twin} differ")
            if not 1 <= one["planes"] <= engine.planes or len(one.rest) != -(-one["planes"] // 2):
                reasons.append(f"{name}: {one['planes']} planes, {len(one.rest)} words of them")
            elif one["tile"] < 1 or one["tile"] * one["planes"] > engine.tile_vectors:
                reasons.append(f"{name}: tiles of {one['tile']} pixels and {one['planes']} planes")
            elif any(self._beats(one["tile"], entry) > engine.burst_beats for entry in one.table()):
                reasons.append(f"{name}: tiles of {one['tile']} pixels, longer than a burst")
        load, arrange = self.has["LOAD"], self.has["ARRANGE"]
        if load["ahead"] > MOST_AHEAD:
            reasons.append(f"LOAD: {load['ahead']} calls ahead, expected at most {MOST_AHEAD}")
        if not reasons:
            twice = [entry & 1 for entry in load.table()]
            flags = [int(arrange.rest[at // 64]) >> at % 64 & 1 for at in range(64 * len(arrange.rest))]
            if flags[: len(twice)] != twice or any(flags[len(twice) :]) or len(flags) - len(twice) >= 64:
                reasons.append("LOAD and ARRANGE differ in what is read twice")
            if any(twice) and (load["tile"] % 2 or load["width"] % 2 or load["rows"] % 2):
                reasons.append("LOAD: reads twice an odd number of pixels")
        return reasons

    def _beats(self, pixels: int, entry: int) -> int:
        return -(-pixels // (2 if entry & 1 else 1)) * self.engine.lanes * 8 // self.engine.axi_bits

    def _spatial(self) -> list[str]:
        one, engine = self.has.get("SPATIAL"), self.engine
        if one is None:
            return []
        reasons = []
        if one["mode"] not in (DEPTHWISE, MAXIMUM, IM2COL) or one["columns"] not in (2, 3):
            reasons.append(f"SPATIAL: mode {one['mode']}, {one['columns']} columns")
        if one["mode"] != IM2COL and one["columns"] != 3:
            reasons.append("SPATIAL: expected three columns")
        if one["reach"] > LARGEST_DILATION or (one["mode"] != DEPTHWISE and one["deformable"]):
            reasons.append(f"SPATIAL: reach {one['reach']}, mode {one['mode']}")
        if not 1 <= one["planes"] <= engine.planes or not 1 <= one["width"] * one["planes"] <= engine.line_vectors:
            reasons.append(f"SPATIAL: rows of {one['width']} pixels and {one['planes']} planes")
        for size, stride, of in (("rows_out", "row_stride", "rows"), ("width_out", "column_stride", "width")):
            if not (one[of] >= 1 and one[size] >= 1 and 1 <= one[stride] <= 4
                    and (one[size] - 1) * one[stride] < one[of]):  # fmt: skip
                reasons.append(f"SPATIAL: {one[size]} {of} out of {one[of]}, stride {one[stride]}")
        kernel = 9 * one["planes"] * engine.lanes // 8 if one["mode"] == DEPTHWISE else 0
        if len(one.rest) != kernel:
            reasons.append(f"SPATIAL: {len(one.rest)} words of kernels, expected {kernel}")
        return reasons

    def _pointwise(self) -> list[str]:
        one, engine = self.has.get("POINTWISE"), self.engine
        if one is None:
            return []
        blocks = one["groups"] * one["outputs"] * (1 + one["halves"])
        words = blocks * engine.columns * -(-engine.lanes // 16)
        reasons = []
        if not (1 <= one["groups"] <= engine.groups and 1 <= blocks <= engine.weight_blocks and one["pixels"] >= 1):
            reasons.append(f"POINTWISE: {one['groups']} vectors of a pixel, {blocks} blocks, {one['pixels']} pixels")
        if len(self.has["WEIGHTS"].rest) != words:
            reasons.append(f"WEIGHTS: {len(self.has['WEIGHTS'].rest)} words, expected {words}")
        return reasons

    def _counts(self) -> list[str]:
        """Whether every process passes on as many vectors as the next one reads."""
        has, reasons = self.has, []
        load, store = has["LOAD"], has["STORE"]
        flow = load["rows"] * load["width"] * load["planes"]
        order = ["SPATIAL", "POINTWISE"] if has["ARRANGE"]["to_spatial"] else ["POINTWISE", "SPATIAL"]
        for name in (one for one in order if one in has):
            one, scale = has[name], has[f"{name}_SCALE"]
            if name == "SPATIAL":
                reads = one["rows"] * one["width"] * one["planes"]
                pixels, planes = one["rows_out"] * one["width_out"], one["planes"]
                makes = pixels * planes * (3 * one["columns"] if one["mode"] == IM2COL else 1)
                planes, step = (1, 1) if one["mode"] == IM2COL else (planes, 1)
            else:
                step = self.engine.columns // self.engine.lanes
                reads, pixels, planes = one["groups"] * one["pixels"], one["pixels"], one["outputs"] * step
                makes = pixels * planes
            if reads != flow or makes != scale["vectors"]:
                reasons.append(f"{name}: reads {reads} of {flow} vectors, {makes} of {scale['vectors']} are scaled")
            reasons += self._scale(f"{name}_SCALE", scale, planes, step)
            flow = makes // planes * scale["kept"]
        if "DILATION" in has and "SPATIAL" in has:
            one = has["DILATION"]
            pixels = has["SPATIAL"]["rows_out"] * has["SPATIAL"]["width_out"]
            good = one["pixels"] == pixels and one["lane"] < self.engine.lanes and one["tile"] >= 1
            if not good or self._beats(one["tile"], 0) > self.engine.burst_beats:
                reasons.append(f"DILATION: {one['pixels']} of {pixels} pixels, tiles of {one['tile']}")
        if flow != store["pixels"] * store["planes"]:
            reasons.append(f"STORE: {store['pixels'] * store['planes']} vectors, {flow} are made")
        return reasons

    def _scale(self, name: str, one: Packet, planes: int, step: int) -> list[str]:
        good = one["planes"] == planes <= self.engine.planes and planes - step < one["kept"] <= planes
        good &= len(one.rest) == planes * self.engine.lanes // 2
        if not good:
            return [f"{name}: {one['planes']} planes, {one['kept']} kept, expected {planes}"]
        low, high = ((one[field] ^ 128) - 128 for field in ("low", "high"))
        if one["shift"] > 31 or low > high:
            return [f"{name}: shift {one['shift']}, limits {low} to {high}"]
        return []

    def _addresses(self, map_bytes: int) -> list[str]:
        reasons = []
        for name, ranges in (("LOAD", self._read()), ("STORE", self.written())):
            for one in ranges:
                if one.stop > map_bytes:
                    reasons.append(f"{name}: bytes {one.start} to {one.stop} of {map_bytes}")
        tables = [*self.has["LOAD"].table(), *self.has["STORE"].table()]
        if any(entry & 14 for entry in tables) or any(entry & 1 for entry in self.has["STORE"].table()):
            reasons.append("an address that is no multiple of 16")
        written = sorted(self.written(), key=lambda one: one.start)
        if any(a.stop > b.start for a, b in pairwise(written)) or _overlap(written, self._read()):
            reasons.append("STORE: writes where the call reads or writes something else")
        return reasons

    def hazards(self, writes: list[list[range]]) -> list[str]:
        """Whether the call may read what a call before it has not written yet."""
        ahead = self.has["LOAD"]["ahead"]
        late = [at for at in range(max(0, len(writes) - ahead), len(writes)) if _overlap(writes[at], self._read())]
        return [f"LOAD: may begin before call {late[-1]}, whose result it reads, has ended"] if late else []

    def written(self) -> list[range]:
        """Bytes the call writes."""
        store = self.has["STORE"]
        size = store["pixels"] * self.engine.lanes
        return [range(entry & ~15, (entry & ~15) + size) for entry in store.table()]

    def _read(self) -> list[range]:
        load, dilation = self.has["LOAD"], self.has.get("DILATION")
        size = load["rows"] * load["width"] * self.engine.lanes
        found = [range(e & ~15, (e & ~15) + (size // 4 if e & 1 else size)) for e in load.table()]
        if dilation is not None:
            found.append(range(dilation["address"], dilation["address"] + dilation["pixels"] * self.engine.lanes))
        return found


def _overlap(some: list[range], others: list[range]) -> bool:
    return any(one.start < other.stop and other.start < one.stop for one in some for other in others)
