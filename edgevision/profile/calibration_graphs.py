"""The networks a device is calibrated on: made-up ones, of the layers that vision networks are made of.

Their shapes were chosen to span those of images from 64 to 224 pixels; none is a network anybody uses, so that what is
predicted afterwards was never timed before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import onnx

from edgevision.profile.calibration_layers import Layers


def inverted(*, integer: bool, side: int, stem: int, blocks: Sequence[tuple[int, int, int, int]]) -> onnx.ModelProto:
    """Inverted residuals: for each block its channels, stride, expansion and the depthwise kernel."""
    net = Layers((1, 3, side, side), integer=integer)
    x = net.function("Clip", net.conv("x", stem, 3, stride=2))
    for channels, stride, expansion, kernel in blocks:
        depth = net.shapes[x][1]
        wide = net.function("Clip", net.conv(x, depth * expansion)) if expansion > 1 else x
        wide = net.function("Clip", net.conv(wide, 0, kernel, stride=stride, depthwise=True))
        made = net.conv(wide, channels)
        x = net.combined("Add", x, made, on_bytes=True) if stride == 1 and channels == depth else made
    x = net.function("Clip", net.conv(x, 4 * net.shapes[x][1]))
    channels = net.shapes[x][1]
    return net.model(net.linear(net.reshaped(net.pooled(x), (1, channels)), 1000))


def residual(*, integer: bool, side: int, widths: Sequence[tuple[int, int]]) -> onnx.ModelProto:
    """Residual blocks of two 3 x 3 convolutions: for each its channels and stride."""
    net = Layers((1, 3, side, side), integer=integer)
    x = net.pooled(net.function("Relu", net.conv("x", widths[0][0], 7, stride=2)), "MaxPool")
    for channels, stride in widths:
        made = net.function("Relu", net.conv(x, channels, 3, stride=stride))
        made = net.conv(made, channels, 3)
        same = stride == 1 and net.shapes[x][1] == channels
        beside = x if same else net.conv(x, channels, stride=stride)
        x = net.function("Relu", net.combined("Add", made, beside, on_bytes=True))
    return net.model(net.linear(net.reshaped(net.pooled(x), (1, net.shapes[x][1])), 100))


def tokens(
    *, integer: bool, side: int, patch: int, width: int, heads: int, depth: int = 1, window: int = 0
) -> onnx.ModelProto:
    """Transformer blocks on patches of an image; with `window` attention stays within windows of that side."""
    net = Layers((1, 3, side, side), integer=integer)
    x = net.conv("x", width, patch, stride=patch)
    across = net.shapes[x][2]
    x = net.turned(net.reshaped(x, (1, width, across**2)), (0, 2, 1))
    for _ in range(depth):
        made = net.normed(x)
        if window:
            count = across // window
            made = net.turned(net.reshaped(made, (1, count, window, count, window, width)), (0, 1, 3, 2, 4, 5))
            made = net.reshaped(made, (count**2, window**2, width))
        made = net.attention(net.linear(made, 3 * width), heads, biased=bool(window))
        made = net.linear(made, width)
        if window:
            made = net.turned(net.reshaped(made, (1, count, count, window, window, width)), (0, 1, 3, 2, 4, 5))
            made = net.reshaped(made, (1, across**2, width))
        x = net.combined("Add", made, x)
        x = net.combined("Add", net.linear(net.function("Gelu", net.linear(net.normed(x), 4 * width)), width), x)
    return net.model(net.linear(net.normed(x), 100))


def gated(*, integer: bool, side: int, stages: Sequence[int]) -> onnx.ModelProto:
    """Convolutions gated by sigmoids of themselves, between scales and terms; each stage halves the sides."""
    net = Layers((1, 3, side, side), integer=integer)
    x = net.function("Gelu", net.conv("x", stages[0] // 2, 3, stride=2))
    for channels in stages:
        x = net.conv(x, channels, 3, stride=2)
        local = net.function("Gelu", net.conv(net.conv(x, channels), 0, 3, depthwise=True))
        x = net.combined("Add", net.conv(local, channels), x)
        inner = net.scaled(x)
        gate = net.function("Sigmoid", net.conv(net.pooled(net.conv(inner, 0, 3, depthwise=True)), channels))
        spread = net.function("Sigmoid", net.conv(inner, 1))
        mixed = net.combined("Mul", net.conv(inner, channels), spread)
        mixed = net.conv(mixed, 0, 7, depthwise=True)
        x = net.combined("Add", net.conv(mixed, channels), x)
        x = net.combined("Add", net.conv(net.function("Gelu", net.conv(net.scaled(x), 4 * channels)), channels), x)
        x = net.scaled(net.combined("Mul", x, gate))
    return net.model(net.linear(net.reshaped(net.pooled(x), (1, net.shapes[x][1])), 100))


#: Name and maker of every network; each is made in float and between quantisers, the most telling ones first.
NETWORKS: dict[str, Callable[..., onnx.ModelProto]] = {
    "inverted-224": partial(
        inverted,
        side=224,
        stem=24,
        blocks=[
            (16, 1, 1, 3),
            (32, 2, 4, 3),
            (32, 1, 6, 5),
            (40, 2, 6, 3),
            (40, 1, 4, 5),
            (80, 2, 6, 5),
            (80, 1, 6, 3),
            (112, 1, 4, 3),
            (176, 2, 6, 5),
            (176, 1, 5, 3),
        ],
    ),
    "residual-192": partial(residual, side=192, widths=[(48, 1), (48, 1), (96, 2), (192, 2), (320, 2), (320, 1)]),
    "tokens-224": partial(tokens, side=224, patch=16, width=256, heads=4, depth=1),
    "tokens-112": partial(tokens, side=112, patch=8, width=320, heads=5, depth=1),
    "gated-192": partial(gated, side=192, stages=[40, 80, 144, 240]),
    "windows-192": partial(tokens, side=192, patch=4, width=80, heads=2, window=8),
    "windows-96": partial(tokens, side=96, patch=4, width=224, heads=7, window=6),
    "windows-narrow": partial(tokens, side=128, patch=16, width=448, heads=14, window=8),
    "inverted-64": partial(
        inverted, side=64, stem=16, blocks=[(24, 2, 3, 3), (24, 1, 6, 3), (56, 2, 6, 3), (96, 2, 6, 5), (256, 1, 6, 3)]
    ),
    "residual-96": partial(residual, side=96, widths=[(64, 1), (128, 2), (256, 2), (448, 1)]),
    "gated-64": partial(gated, side=64, stages=[32, 64, 96, 200]),
    "tokens-narrow": partial(tokens, side=160, patch=16, width=128, heads=4, depth=1),
}
