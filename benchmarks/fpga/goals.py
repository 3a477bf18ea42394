"""What the engine was asked to reach, layer by layer, in the model of cycles."""

from __future__ import annotations

from benchmarks.fpga.codenet import codenet, with_random_numbers
from edgevision.engine.cycles import CallCycles, modelled
from edgevision.engine.network import Convolution, Group, Header
from edgevision.target import Engine

_SIDE, _CHANNELS = 64, 256


def block(engine: Engine, gb_s: float, *, spatial: str | None, pointwise: bool) -> list[CallCycles]:
    """256 channels of 64x64 pixels: a depthwise layer, "plain" or "square", a 1x1 layer, or both in one call."""
    layers = []
    if spatial == "square":
        layers.append(Convolution(name="d", input="input", channels=1, depth=_CHANNELS, kernel=1, limits=(0, 7)))
    if spatial is not None:
        layers.append(
            Convolution(
                name="y", input="input", channels=_CHANNELS, depth=1, kernel=3, depthwise=True, group=0,
                dilation="d" if spatial == "square" else None,
            )
        )  # fmt: skip
    if pointwise:
        above = "input" if spatial is None else "y"
        layers.append(Convolution(name="z", input=above, channels=_CHANNELS, depth=_CHANNELS, kernel=1, group=0))
    header = Header(input_shape=(_CHANNELS, _SIDE, _SIDE), input_group=0, groups=(Group(0.1, -128),),
                    layers=tuple(layers), outputs=(layers[-1].name,))  # fmt: skip
    calls = modelled(with_random_numbers(header, spread=False), engine, gb_s=gb_s)
    return [call for call in calls if call.layers != ("d",)]


def cycles(calls: list[CallCycles]) -> int:
    """From the first beat to the last result in memory."""
    return calls[-1].last - calls[0].first


def rows(engine: Engine, gb_s: float) -> list[dict[str, object]]:
    """Goal by goal: what was wanted, what the model says."""
    plain = cycles(block(engine, gb_s, spatial="plain", pointwise=False))
    square = cycles(block(engine, gb_s, spatial="square", pointwise=False))
    alone = block(engine, gb_s, spatial=None, pointwise=True)
    both = block(engine, gb_s, spatial="square", pointwise=True)
    found = [
        _row("square depthwise, to plain", "<= 1.10", square / plain),
        _row("square depthwise and its 1x1 layer, to the 1x1 layer alone", "near 1", cycles(both) / cycles(alone)),
        _row("1x1 layer of 256 channels, of the array's peak", ">= 0.85", alone[0].pointwise / cycles(alone)),
    ]
    for name in ("codenet_a", "codenet_c"):
        calls = [one for one in modelled(codenet(name, spread=False), engine, gb_s=gb_s) if one.bound == "1x1"]
        # What a call adds to the network: before that it waited for others' results, or computed beside them.
        share = sum(one.pointwise for one in calls) / sum(one.added for one in calls)
        found.append(_row(f"{name}: its {len(calls)} calls bound by the array, of the peak", ">= 0.85", share))
    return found


def _row(goal: str, wanted: str, modelled_value: float) -> dict[str, object]:
    return {"goal": goal, "wanted": wanted, "modelled": round(modelled_value, 3)}
