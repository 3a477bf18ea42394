from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import torch
from helpers.networks import as_model, digits
from torch import nn

from edgevision.compress.calibration import Calibration
from edgevision.compress.smooth import factors, smooth
from edgevision.graph.export import export

CALIBRATION = Calibration(digits().split("calibration"), "input", 16)


class Tokens(nn.Module):
    """A layer norm with one channel far larger than the others, ahead of two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, 16, 4, stride=4), nn.LayerNorm(16)
        self.first, self.second, self.head = nn.Linear(16, 8), nn.Linear(16, 8), nn.Linear(8, 10)
        with torch.no_grad():
            self.norm.weight[3], self.norm.bias[5] = 50.0, -20.0

    def forward(self, x):
        x = self.norm(self.patches(x).flatten(2).transpose(1, 2))
        return self.head((self.first(x) * self.second(x)).mean(1))


def run(model: onnx.ModelProto, *names: str) -> list[np.ndarray]:
    model = onnx.ModelProto.FromString(model.SerializeToString())
    model.graph.output.extend(onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in names)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    found = [session.run(None, image) for image in CALIBRATION]
    return [np.concatenate(values) for values in zip(*found, strict=True)]


def test_the_network_stays_and_its_outliers_are_gone():
    torch.manual_seed(0)
    network = export(as_model(Tokens())).graph
    smoothed, done = smooth(network, CALIBRATION, alpha=0.5)
    assert [set(item.readers) for item in done] == [{"first", "second"}]
    (old, x), (new, y) = run(network, done[0].tensor), run(smoothed, done[0].tensor)
    np.testing.assert_allclose(new, old, rtol=1e-3, atol=1e-4)
    spread = [np.abs(values).max((0, 1)) for values in (x, y)]
    before, after = (float(largest.max() / np.median(largest)) for largest in spread)
    assert before > 20 and after < 1.5 * before**0.5


def test_alpha_says_who_takes_the_outliers():
    reached, largest = np.array([64.0, 4.0]), np.array([0.25, 1.0])
    # At 1 activations become equal, at 0 weights; half way both sides of a channel do.
    assert np.allclose(reached / factors(reached, largest, 1.0), 1)
    assert np.allclose(largest * factors(reached, largest, 0.0), 1)
    half = factors(reached, largest, 0.5)
    assert np.allclose(reached / half, largest * half)
