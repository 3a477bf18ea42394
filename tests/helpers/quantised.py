"""Networks quantised by onnxruntime's own tool, in each of its formats."""

from __future__ import annotations

import functools
import itertools
import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import Tensor, nn

from edgevision.compress.onnxgraph import copy_of
from edgevision.data.preprocess import Preprocessing
from edgevision.graph.export import export
from edgevision.zoo.load import load_model
from edgevision.zoo.model import InputSpec, Model, Provenance

#: per_channel, type of activations, type of weights, whether activations are symmetric.
FORMATS = [
    (per_channel, *rest)
    for per_channel, rest in itertools.product(
        (True, False),
        (
            (QuantType.QUInt8, QuantType.QInt8, False),
            (QuantType.QInt8, QuantType.QInt8, False),
            (QuantType.QInt8, QuantType.QInt8, True),
            (QuantType.QUInt8, QuantType.QUInt8, False),
        ),
    )
]


class Residual(nn.Module):
    """A small ResNet with pooling of every kind, a grouped layer, an upsampled branch and a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 7, 2, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.first = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1))
        self.second = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU6(), nn.Conv2d(32, 32, 3, 1, 1, groups=32))
        self.shortcut = nn.Conv2d(16, 32, 1, 2)
        self.grouped = nn.Conv2d(32, 32, 3, 1, 1, groups=4)
        self.pool, self.up = (
            nn.AvgPool2d(3, 2, 1, count_include_pad=False),
            nn.Upsample(scale_factor=2, mode="bilinear"),
        )
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.first(x))
        x = torch.relu(self.second(x) + self.shortcut(x))
        x = torch.cat([x, self.up(self.pool(self.grouped(x)))], 1)
        return self.head(x.mean((2, 3)))


class Perceptron(nn.Module):
    """Three layers, ReLU and hard swish."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), nn.Linear(32, 24), nn.Hardswish(), nn.Linear(24, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@functools.cache
def float_graph(name: str) -> onnx.ModelProto:
    """One of residual, perceptron, cas_vit and efficientnet_lite0, small, with random weights."""
    torch.manual_seed(0)
    if name in ("cas_vit", "efficientnet_lite0"):
        return export(load_model(name, weights="random", image_size=64, classes=tuple("abcdefghij"))).graph
    module, size = (Residual(), 32) if name == "residual" else (Perceptron(), 8)
    spec = InputSpec("input", (1, 3, size, size))
    return export(Model(name, spec, Preprocessing(size, size), Provenance("random"), module=module.eval())).graph


class _Noise(CalibrationDataReader):
    def __init__(self, graph: onnx.ModelProto, count: int = 4) -> None:
        name, shape = graph.graph.input[0].name, image_shape(graph)
        rng = np.random.default_rng(1)
        self._images = iter([{name: rng.standard_normal(shape).astype(np.float32)} for _ in range(count)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._images, None)


def image_shape(model: onnx.ModelProto) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim)


def quantised(
    name: str,
    per_channel: bool,
    activations: QuantType,
    weights: QuantType,
    symmetric: bool,
    layout: QuantFormat = QuantFormat.QDQ,
) -> onnx.ModelProto:
    """`float_graph(name)` through `onnxruntime.quantization.quantize_static`."""
    graph = float_graph(name)
    logging.disable(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "quantised.onnx")
            # A copy, since the tool moves the weights of what it is given into a file of its own.
            quantize_static(
                copy_of(graph),
                path,
                _Noise(graph),
                quant_format=layout,
                per_channel=per_channel,
                activation_type=activations,
                weight_type=weights,
                extra_options={"ActivationSymmetric": symmetric},
            )
            return onnx.load(path)
    finally:
        logging.disable(logging.NOTSET)
