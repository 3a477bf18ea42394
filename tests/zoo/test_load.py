import pytest
import torch

from edgevision.data import Preprocessing
from edgevision.errors import UsageError
from edgevision.zoo import load_model, names
from edgevision.zoo.weights import WeightsMeta, save_weights

SMALL = Preprocessing(height=64, width=64, mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.mark.parametrize("name", names())
def test_every_name_loads_with_random_weights(name):
    model = load_model(name, weights="random", classes=("a", "b"), image_size=32)
    assert model.provenance.origin == "random"
    # A detector has an output for each cell of four pixels: two classes, two sizes, two offsets.
    expected = {"top-1": (1, 2), "AP50": (1, 2 + 4, 8, 8), "fit": (1, 2, 32, 32)}
    assert model.module(torch.zeros(model.input.shape)).shape == expected[model.metric]
    assert model.module(torch.rand(model.input.shape)).isfinite().all()


def test_the_seed_alone_decides_random_weights():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, same, other = (load_model("cas_vit", classes=("a", "b"), seed=s).module.head.weight for s in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_second_head_is_only_built_where_there_is_one():
    with pytest.raises(UsageError, match="resnet18 has no distillation head"):
        load_model("resnet18", weights="random", distillation_head=True)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'cas_vit_xs'"):
        load_model("casvit_xs")


@pytest.mark.parametrize("size", [0, -32, 1, 33, 100])
def test_image_size_must_be_a_multiple_of_the_stride(size):
    with pytest.raises(UsageError, match="multiple of 32"):
        load_model("cas_vit", image_size=size)


def test_image_size_keeps_the_crop_in_proportion():
    preprocessing = load_model("cas_vit", image_size=384, classes=("a", "b")).preprocessing
    assert (preprocessing.height, preprocessing.width, preprocessing.resize_short) == (384, 384, 439)


def test_one_weights_file_brings_classes_and_preprocessing(tmp_path):
    path = tmp_path / "cas.safetensors"
    trained = load_model("cas_vit", classes=("cat", "dog"), preprocessing=SMALL, distillation_head=True, seed=3)
    save_weights(
        path, trained.module, WeightsMeta("cas_vit_xs", ("cat", "dog"), SMALL, {"data": "pets", "accuracy": 91.5})
    )
    model = load_model("cas_vit", weights=path)
    assert (model.classes, model.preprocessing, model.input.shape) == (("cat", "dog"), SMALL, (1, 3, 64, 64))
    assert model.provenance.detail == {"data": "pets", "accuracy": 91.5}
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(model.module(x), trained.module(x))


def test_weights_of_another_network_or_other_classes_are_refused(tmp_path):
    path = tmp_path / "cas.safetensors"
    module = load_model("cas_vit", classes=("cat", "dog"), preprocessing=SMALL).module
    save_weights(path, module, WeightsMeta("cas_vit_xs", ("cat", "dog"), SMALL))
    with pytest.raises(UsageError, match="--model cas_vit_xs"):
        load_model("cas_vit_s", weights=path)
    with pytest.raises(UsageError, match="3 classes, the weights have a head of 2"):
        load_model("cas_vit", weights=path, classes=("a", "b", "c"))
    with pytest.raises(UsageError, match="output 0: data 'dog', weights 'cat'"):
        load_model("cas_vit", weights=path, classes=("dog", "cat"))


def test_a_users_file_takes_no_weights(tmp_path):
    with pytest.raises(UsageError, match="brings its own weights"):
        load_model(str(tmp_path / "net.onnx"), weights=tmp_path / "w.pth")


def test_imagenet_weights_are_not_silently_replaced_for_other_classes():
    with pytest.raises(UsageError, match="1000 outputs, the data has 3 classes"):
        load_model("efficientnet_lite0", classes=("a", "b", "c"))
