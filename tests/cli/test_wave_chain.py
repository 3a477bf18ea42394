"""The surrogate from its recipe to both architectures: compressed in factors and bytes, deployed, run."""

import numpy as np
import pytest

from edgevision import api
from edgevision.graph import reference

TOML = "side = 16\nrefine = 1\ntrain = 3\ntest = 2\ninterval = 0.06\nlater = 2\nwindows = 3\n"


@pytest.fixture(scope="module")
def compressed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("waves")
    (folder / "small.toml").write_text(TOML)
    return api.compress(
        "wave_net", "tensor-auto+w8a8", data=f"wave:{folder / 'small.toml'}", out=folder / "out", random_weights=True,
        sensitivity=False,
    )  # fmt: skip


def test_the_surrogate_is_stored_in_factors_of_bytes(compressed):
    calls = [node for node in compressed.graph().graph.node if node.op_type == "FactorizedConv"]
    assert len(calls) > 10 and all(node.input[1].endswith(".weight.dq") for node in calls)


@pytest.mark.parametrize("target", ["host", "rpi4"])
def test_the_surrogate_runs_from_its_bundle(compressed, target, tmp_path):
    deployed = api.deploy(compressed.folder, target, run=True, out=tmp_path)
    families = {step.family for step in deployed.bundle.manifest.steps}
    assert "factorized" in families
    golden = deployed.bundle.manifest.golden[0]
    image, answer = (np.fromfile(deployed.bundle.folder / name, np.float32) for name in (golden.input, golden.output))
    (wanted,) = reference.run(compressed.graph(), image.reshape(1, 3, 16, 16))
    assert np.array_equal(answer, wanted.ravel())
