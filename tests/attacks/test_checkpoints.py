"""Weights and network files made to run code, to fill memory, or simply broken on the way."""

import os
import pickle
import zipfile

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from onnx import TensorProto, helper

from edgevision.errors import UsageError
from edgevision.zoo import load_model
from edgevision.zoo.weights import read_checkpoint


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def hostile(path, marker, how):
    if how == "zip":
        torch.save({"model": Payload(marker)}, path)
    elif how == "legacy":
        torch.save({"model": Payload(marker)}, path, _use_new_zipfile_serialization=False)
    else:
        path.write_bytes(pickle.dumps(Payload(marker)))


@pytest.mark.parametrize("how", ["zip", "legacy", "raw pickle"])
def test_code_in_a_pickle_is_refused_and_does_not_run(tmp_path, how):
    path, marker = tmp_path / "w.pth", tmp_path / "ran"
    hostile(path, marker, how)
    with pytest.raises(UsageError) as caught:
        load_model("cas_vit", weights=path)
    assert not marker.exists()
    assert "holds code" in caught.value.what and "mkdir" in caught.value.what


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_is_named_in_every_pickle_protocol(tmp_path, protocol):
    path, marker = tmp_path / "w.pth", tmp_path / "ran"
    path.write_bytes(pickle.dumps({"head.weight": [1.0], "extra": Payload(marker)}, protocol=protocol))
    with pytest.raises(UsageError, match=r"holds code.*mkdir"):
        read_checkpoint(path)
    assert not marker.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_truncated_files_say_so(tmp_path, suffix, share):
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    state = {"head.weight": torch.randn(50, 50)}
    (torch.save if suffix == ".pth" else safetensors.torch.save_file)(state, whole)
    content = whole.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UsageError, match=r"not (a whole checkpoint|whole safetensors)"):
        read_checkpoint(path)


def test_noise_is_not_a_checkpoint(tmp_path):
    for suffix in (".pth", ".safetensors", ".onnx", ".pt2"):
        path = tmp_path / f"noise{suffix}"
        path.write_bytes(np.random.default_rng(1).bytes(4096))
        with pytest.raises(UsageError):
            load_model(str(path)) if suffix in (".onnx", ".pt2") else read_checkpoint(path)


def test_large_files_are_refused_before_they_are_read(tmp_path):
    path = tmp_path / "w.pth"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError, match="at most"):
        read_checkpoint(path)


def test_archives_that_unpack_to_too_much_are_refused(tmp_path):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"\0" * (1 << 24))
    with pytest.raises(UsageError, match="unpacked"):
        read_checkpoint(path, max_bytes=1 << 20)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2, 3], "expected a dictionary of tensors, got list"),
        ({}, "got an empty one"),
        ({"model": {"head.weight": "text"}}, "plain tensors"),
        ({"head.weight": torch.eye(2).to_sparse()}, "plain tensors"),
        ({"head.weight": torch.zeros(2, dtype=torch.complex64)}, "plain tensors"),
    ],
)
def test_what_is_not_a_state_is_refused(tmp_path, content, message):
    path = tmp_path / "w.pth"
    torch.save(content, path)
    with pytest.raises(UsageError, match=message):
        read_checkpoint(path)


def test_nan_in_the_weights_is_named(tmp_path):
    module = load_model("cas_vit", classes=("a", "b"), image_size=32).module
    state = module.state_dict()
    state["norm.bias"] = torch.full_like(state["norm.bias"], float("nan"))
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(state, path)
    with pytest.raises(UsageError) as caught:
        load_model("cas_vit", weights=path)
    assert caught.value.reasons == ("not finite: norm.bias",)


def test_a_tensor_of_a_tiny_storage_and_a_huge_shape_costs_nothing(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"head.weight": torch.zeros(1).expand(1000, 220), "head.bias": torch.zeros(1).expand(1 << 45)}, path)
    with pytest.raises(UsageError, match="do not fit"):
        load_model("cas_vit", weights=path)


@pytest.mark.parametrize("location", ["../outside.bin", "/etc/hostname", "missing.bin", ""])
def test_onnx_weights_outside_the_folder_are_not_read(tmp_path, location):
    (tmp_path / "outside.bin").write_bytes(bytes(24))
    folder = tmp_path / "net"
    folder.mkdir()
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 3, 1, 1])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 4, 4])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 4, 4])
    node = helper.make_node("Conv", ["image", "w"], ["y"])
    model = helper.make_model(helper.make_graph([node], "g", [image], [output], [weight]))
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UsageError, match="weights outside the file"):
        load_model(str(folder / "net.onnx"))


def test_onnx_with_an_edge_from_nowhere_is_refused(tmp_path):
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 4, 4])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 4, 4])
    node = helper.make_node("Relu", ["nowhere"], ["y"])
    onnx.save(helper.make_model(helper.make_graph([node], "g", [image], [output])), str(tmp_path / "net.onnx"))
    with pytest.raises(UsageError, match="checker"):
        load_model(str(tmp_path / "net.onnx"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("pt2") / "net.pt2"
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    torch.export.save(torch.export.export(net, (torch.zeros(1, 3, 4, 4),)), path)
    return path


def repacked(source, target, change):
    """Copy an archive; `change(name, content)` returns the new content of each entry."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))


def test_pickled_sample_inputs_with_code_do_not_run(exported, tmp_path):
    marker, sample = tmp_path / "ran", tmp_path / "sample.pt"
    torch.save(((Payload(marker),), {}), sample)
    target = tmp_path / "net.pt2"
    hidden = sample.read_bytes()
    repacked(exported, target, lambda name, old: hidden if name.endswith("sample_inputs/model.pt") else old)
    with pytest.raises(UsageError, match="holds more than tensors"):
        load_model(str(target))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"use_pickle": false', b'"use_pickle": true', "stored as a pickle"),
        (b"torch.ops.aten.conv2d.default", b"torch.hub.load", "not an ATen operator"),
        (b'"guards_code": []', b'"guards_code": ["print(1)"]', "guard code"),
        (b'"as_int": 4}', b'"as_expr": {"expr_str": "__import__(\'os\').getpid()"}}', "more than arithmetic"),
    ],
)
def test_code_hidden_in_a_program_is_refused(exported, tmp_path, old, new, message):
    target = tmp_path / "net.pt2"
    seen = []
    repacked(exported, target, lambda _name, content: (seen.append(old in content), content.replace(old, new))[1])
    assert any(seen)
    with pytest.raises(UsageError, match=message):
        load_model(str(target))


def test_custom_objects_in_a_program_are_refused(exported, tmp_path):
    target = tmp_path / "net.pt2"
    repacked(exported, target, lambda _name, content: content)
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr("net/data/constants/custom_obj_0", b"x")
    with pytest.raises(UsageError, match="unexpected part"):
        load_model(str(target))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".onnx", ".pt2"])
def test_missing_files_and_folders_in_their_place_are_named(tmp_path, suffix):
    absent, folder = tmp_path / f"absent{suffix}", tmp_path / f"folder{suffix}"
    folder.mkdir()
    for path in (absent, folder):
        with pytest.raises(UsageError) as caught:
            load_model(str(path)) if suffix in (".onnx", ".pt2") else load_model("cas_vit", weights=path)
        assert str(path) in str(caught.value) and caught.value.exit_code == 2
