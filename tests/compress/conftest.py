from __future__ import annotations

import onnx
import pytest
from helpers.networks import digits, trained_small

from edgevision.compress.quantize import quantize
from edgevision.graph.export import Exported, export
from edgevision.recipe import Quantize

STEP = Quantize(calibration_images=48)


@pytest.fixture(autouse=True)
def no_figures_of_earlier_runs(monkeypatch, tmp_path_factory):
    """What a test measures, it measures itself."""
    monkeypatch.setenv("EDGEVISION_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def exported() -> Exported:
    return export(trained_small())


@pytest.fixture(scope="session")
def float_graph(exported) -> onnx.ModelProto:
    return exported.graph


@pytest.fixture(scope="session")
def quantised_graph(float_graph) -> onnx.ModelProto:
    return quantize(float_graph, STEP, digits().split("calibration"))
