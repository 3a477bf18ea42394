"""What an engine would give a network and take of its part: modelled, before anything is built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from edgevision.engine.area import use_of
from edgevision.engine.checks import tensors_of
from edgevision.engine.cycles import GB_S, CallCycles, modelled
from edgevision.engine.network import Convolution, Header, IntegerNetwork
from edgevision.engine.rtlarea import use_of_rtl
from edgevision.target import Engine

#: How far the models may be off, as a share: what their fits are held to (hw/README.md).
BANDS = {"DSP": 0.10, "BRAM36": 0.10, "LUT": 0.20, "FF": 0.20}


class Fit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Modelled use of one resource of the part, between `low` and `high`."""

    resource: str
    used: float
    low: float
    high: float
    available: int

    @property
    def verdict(self) -> Literal["fits", "tight", "no"]:
        """Whether it fits; "tight" where it depends on how far the model is off.

        >>> [Fit("DSP", used, used * 0.9, used * 1.1, 220).verdict for used in (150, 210, 260)]
        ['fits', 'tight', 'no']
        """
        if self.low > self.available:
            return "no"
        return "fits" if self.high <= self.available else "tight"


class Figures(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A network on an engine. Everything is modelled.

    Attributes:
        cycles: from the first word of the program to the last result in memory.
        macs: multiply-accumulates on the engine.
        gb_s: assumed bytes a nanosecond of the memory.
    """

    cycles: int
    clock_mhz: int
    gb_s: float
    macs: int
    resources: tuple[Fit, ...]

    @property
    def ms(self) -> float:
        """Milliseconds, image in memory to maps in memory."""
        return self.cycles / self.clock_mhz / 1e3

    @property
    def frames_per_second(self) -> float:
        """Frames a second, when nothing but the engine works."""
        return 1e3 / self.ms


def fits(engine: Engine) -> tuple[Fit, ...]:
    """What the engine takes of its part, resource by resource; LUTs and flip-flops as yosys counts them in its RTL."""
    logic = [use for use in use_of_rtl(engine) if use.resource in ("LUT", "FF")]
    return tuple(
        Fit(use.resource, use.used, round(use.used * (1 - band), 1), round(use.used * (1 + band), 1), use.available)
        for use in (*use_of(engine), *logic)
        for band in [BANDS.get(use.resource, max(BANDS.values()))]
    )


def figures(network: IntegerNetwork, engine: Engine) -> tuple[Figures, list[CallCycles]]:
    """The figures, and the model of each call.

    Raises:
        Unsupported: a layer does not fit the engine.
    """
    calls = modelled(network, engine)
    macs = sum(macs_of(network.header).values())
    cycles = max(call.last for call in calls)
    return Figures(
        cycles=cycles, clock_mhz=engine.clock_mhz, gb_s=GB_S, macs=macs, resources=fits(engine)
    ), calls  # fmt: skip


def macs_of(header: Header) -> dict[str, int]:
    """Multiply-accumulates of every convolution."""
    tensors = tensors_of(header)
    found = {}
    for layer in header.layers:
        if isinstance(layer, Convolution):
            _, height, width = tensors[layer.name].shape
            found[layer.name] = height * width * layer.channels * layer.depth * layer.kernel**2
    return found


def share_of(names: Sequence[str], header: Header) -> float:
    """Share of the multiply-accumulates that layers `names` do, 0 to 1."""
    macs = macs_of(header)
    return sum(macs.get(name, 0) for name in names) / max(1, sum(macs.values()))
