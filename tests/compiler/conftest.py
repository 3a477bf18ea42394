from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
import torch
from helpers.networks import SIZE, digits, trained_small

from edgevision.compress.fold import fold_batch_norm
from edgevision.compress.quantize import quantize
from edgevision.compress.weights import quantize_weights
from edgevision.graph.export import export
from edgevision.recipe import Quantize


@pytest.fixture(scope="session")
def small_fp32() -> onnx.ModelProto:
    model = trained_small()
    folded, _ = fold_batch_norm(model.module, torch.zeros(1, 3, SIZE, SIZE))
    return export(dataclasses.replace(model, module=folded)).graph


@pytest.fixture(scope="session")
def small_w8a8(small_fp32) -> onnx.ModelProto:
    return quantize(small_fp32, Quantize(calibration_images=48), digits().split("calibration"))


@pytest.fixture(scope="session")
def small_w8(small_fp32) -> onnx.ModelProto:
    return quantize_weights(small_fp32)


@pytest.fixture(scope="session")
def images() -> list[np.ndarray]:
    return [x for x, _ in digits().split("test").batches(1, limit=3)]
