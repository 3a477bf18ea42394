"""Integer networks of a few layers, with random numbers."""

from benchmarks.fpga.codenet import with_random_numbers
from edgevision.engine.network import Convolution, Group, Header, IntegerNetwork, Layer

GROUPS = (Group(0.1, -128), Group(0.1, 9))


def network(
    shape: tuple[int, int, int], *layers: Layer, outputs: tuple[str, ...] = (), seed: int = 0
) -> IntegerNetwork:
    """The layers on an image of `shape`; without `outputs` the last one's."""
    outputs = outputs or (layers[-1].name,)
    header = Header(input_shape=shape, input_group=1, groups=GROUPS, layers=layers, outputs=outputs)
    return with_random_numbers(header, seed)


def dense(name: str, x: str, channels: int, depth: int, **fields) -> Convolution:
    """A 1x1 layer, or what `fields` make of it."""
    return Convolution(name=name, input=x, channels=channels, depth=depth, **{"kernel": 1, "group": 1, **fields})


def depthwise(name: str, x: str, channels: int, **fields) -> Convolution:
    """A depthwise 3x3 layer, or what `fields` make of it."""
    fields = {"kernel": 3, "group": 1, **fields}
    return Convolution(name=name, input=x, channels=channels, depth=1, depthwise=True, **fields)
