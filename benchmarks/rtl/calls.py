"""Calls of a program by themselves: the words of each, and what the model of cycles says of it alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgevision.engine.cycles import GB_S, CallCycles, cycles_of
from edgevision.engine.fields import Packet, packets
from edgevision.engine.lower import lower
from edgevision.engine.network import IntegerNetwork
from edgevision.engine.packets import Receiver
from edgevision.engine.program import Program, compiled
from edgevision.target import Engine


@dataclass(frozen=True)
class ComparableCall:
    """One call, started by itself on maps that hold anything."""

    index: int
    words: np.ndarray = field(repr=False)
    map_bytes: int
    modelled: CallCycles


def comparable(network: IntegerNetwork, engine: Engine, *, gb_s: float = GB_S) -> list[ComparableCall]:
    """All calls of the program for `network`, each modelled as if it came first.

    Raises:
        UsageError, Unsupported: as of `compiled`.
    """
    calls, program = lower(network, engine).calls, compiled(network, engine)
    found = []
    for index, one in enumerate(program.header.calls):
        words = program.words[one.first : one.first + one.count]
        (model,) = cycles_of([calls[index]], [sizes_of(words)], engine, gb_s)
        found.append(ComparableCall(index, words, program.header.map_bytes, model))
    return found


def whole(network: IntegerNetwork, engine: Engine, *, gb_s: float = GB_S) -> tuple[Program, int]:
    """The program and the modelled cycles of all calls one after another."""
    calls, program = lower(network, engine).calls, compiled(network, engine)
    sizes = [sizes_of(program.words[one.first : one.first + one.count]) for one in program.header.calls]
    return program, max(call.last for call in cycles_of(calls, sizes, engine, gb_s))


def sizes_of(words: np.ndarray) -> dict[Receiver, int]:
    """Words of each packet of one call."""
    return {item.receiver: item.words for item in packets(words) if isinstance(item, Packet)}


def distinct(calls: list[ComparableCall], most: int) -> list[ComparableCall]:
    """At most `most` calls that differ in what they do, evenly from first to last."""
    kinds: dict[tuple[int, ...], ComparableCall] = {}
    for call in calls:
        m = call.modelled
        kinds.setdefault((m.pointwise, m.spatial, m.read, m.write, m.parameters, m.bytes), call)
    found = list(kinds.values())
    if len(found) <= most:
        return found
    return [found[round(at * (len(found) - 1) / (most - 1))] for at in range(most)] if most > 1 else found[:most]
