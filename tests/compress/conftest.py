from __future__ import annotations

import onnx
import pytest
from helpers.networks import digits, trained_small

from edgevision.compress.quantize import quantize
from edgevision.graph.export import Exported, export
from edgevision.recipe import Quantize

STEP = Quantize(calibration_images=48)


@pytest.fixture(scope="session")
def exported() -> Exported:
    return export(trained_small())


@pytest.fixture(scope="session")
def float_graph(exported) -> onnx.ModelProto:
    return exported.graph


@pytest.fixture(scope="session")
def quantised_graph(float_graph) -> onnx.ModelProto:
    return quantize(float_graph, STEP, digits().split("calibration"))
