"""Small integer networks for the tests of the engine."""

from __future__ import annotations

from benchmarks.fpga.codenet import with_random_numbers
from edgevision.engine.network import Convolution, Group, Header, IntegerNetwork, Layer

GROUPS = (Group(0.1, -128), Group(0.1, 9))


def network(
    shape: tuple[int, int, int], *layers: Layer, outputs: tuple[str, ...] | None = None, seed: int = 0
) -> IntegerNetwork:
    """Layers with random numbers; the last one's result is the output unless `outputs` are named."""
    return with_random_numbers(
        Header(input_shape=shape, input_group=1, groups=GROUPS, layers=layers, outputs=outputs or (layers[-1].name,)),
        seed,
    )


def dense(name: str, x: str, channels: int, depth: int, **fields: object) -> Convolution:
    """A convolution over all channels, 1x1 unless `kernel` says otherwise."""
    return Convolution(name=name, input=x, channels=channels, depth=depth, **{"kernel": 1, "group": 1, **fields})


def depthwise(name: str, x: str, channels: int, **fields: object) -> Convolution:
    """A depthwise 3x3 convolution."""
    return Convolution(
        name=name, input=x, channels=channels, depth=1, depthwise=True, **{"kernel": 3, "group": 1, **fields}
    )
