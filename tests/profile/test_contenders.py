import pytest
from helpers.programs import bundled

from edgevision.errors import UsageError
from edgevision.profile.contenders import contenders


def test_a_rival_is_not_left_out_silently_when_its_network_is_gone(tmp_path):
    bundle = bundled(tmp_path / "bundle")
    with pytest.raises(UsageError, match="gone or was compressed again"):
        contenders([bundle], [], open_device=lambda _: pytest.fail("opened"), against=["onnxruntime"], threads=1)
