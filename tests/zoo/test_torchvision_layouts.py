"""MobileNetV2 and ResNet, whose state_dict layout is torchvision's."""

import pytest
import torch
from helpers import checkpoints

from edgevision.compress.fold import fold_batch_norm
from edgevision.errors import UsageError
from edgevision.graph.export import export
from edgevision.zoo import load_model, mobilenet_v2, resnet
from edgevision.zoo.family import Wanted

PUBLISHED = {"mobilenet_v2": (3_504_872, 314), "resnet18": (11_689_512, 122), "resnet50": (25_557_032, 320)}
SOME_KEYS = {
    "mobilenet_v2": {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.0.1.running_mean": (32,),
        "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1),
        "features.1.conv.2.bias": (16,),
        "features.2.conv.0.0.weight": (96, 16, 1, 1),
        "features.2.conv.1.0.weight": (96, 1, 3, 3),
        "features.2.conv.2.weight": (24, 96, 1, 1),
        "features.17.conv.3.running_var": (320,),
        "features.18.0.weight": (1280, 320, 1, 1),
        "classifier.1.weight": (1000, 1280),
    },
    "resnet18": {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.weight": (64,),
        "layer1.0.conv2.weight": (64, 64, 3, 3),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer2.0.downsample.1.running_var": (128,),
        "layer4.1.bn2.bias": (512,),
        "fc.weight": (1000, 512),
    },
    "resnet50": {
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer2.0.conv1.weight": (128, 256, 1, 1),
        "layer2.0.conv2.weight": (128, 128, 3, 3),
        "layer4.2.conv3.weight": (2048, 512, 1, 1),
        "layer4.2.bn3.running_mean": (2048,),
        "fc.bias": (1000,),
    },
}


def build(name: str, classes: int = 1000) -> torch.nn.Module:
    family = mobilenet_v2 if name == "mobilenet_v2" else resnet
    return family.build(Wanted(name, classes=classes))


@pytest.mark.parametrize("name", PUBLISHED)
def test_has_the_published_number_of_parameters_and_torchvisions_keys(name):
    with torch.device("meta"):
        network = build(name)
    state = network.state_dict()
    assert (sum(p.numel() for p in network.parameters()), len(state)) == PUBLISHED[name]
    assert {key: tuple(state[key].shape) for key in SOME_KEYS[name]} == SOME_KEYS[name]


@pytest.mark.parametrize(("name", "norms"), [("mobilenet_v2", 52), ("resnet18", 20), ("resnet50", 53)])
def test_a_checkpoint_loads_folds_exactly_and_its_export_agrees(name, norms, tmp_path):
    path = tmp_path / "weights.pth"
    with torch.device("meta"):
        shapes = {k: tuple(v.shape) for k, v in build(name, 3).state_dict().items() if not k.endswith("tracked")}
    state = checkpoints.write(path, shapes)
    model = load_model(name, weights=path, image_size=64)
    assert all(torch.equal(model.module.state_dict()[key], value) for key, value in state.items())
    folded, report = fold_batch_norm(model.module, torch.randn(1, 3, 64, 64))
    assert report.kept == () and len(report.folded) == norms and report.max_rel_error <= 1e-5
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    exported = export(model)
    assert "BatchNormalization" not in {node.op_type for node in exported.graph.graph.node}


def test_a_bottleneck_has_its_stride_on_the_3x3():
    block = build("resnet50").layer2[0]
    assert (block.conv1.stride, block.conv2.stride, block.conv3.stride) == ((1, 1), (2, 2), (1, 1))


def test_wrong_keys_are_named(tmp_path):
    checkpoints.write(tmp_path / "weights.pth", {"fc.weight": (3, 512), "fc.bias": (4,), "layer5.0.bn1.weight": (2,)})
    with pytest.raises(UsageError, match="100 keys missing, 1 unexpected, 1 of another shape") as caught:
        load_model("resnet18", weights=tmp_path / "weights.pth")
    assert "unexpected: layer5.0.bn1.weight" in caught.value.reasons
    assert "mismatch: fc.bias: the network has (3,), the file (4,)" in caught.value.reasons
