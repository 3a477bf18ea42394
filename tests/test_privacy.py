"""Nothing about the user is collected: the packages that report their use are told not to before they are imported."""

import subprocess
import sys

import onnx
from onnx import TensorProto, helper


def run(code, home):
    environment = {"HOME": str(home), "TMPDIR": str(home), "PATH": "/usr/bin:/bin"}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)


def test_onnxruntime_leaves_no_identifier_behind(tmp_path):
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    model = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), model)
    home = tmp_path / "home"
    home.mkdir()
    run(f"import edgevision, onnxruntime; onnxruntime.InferenceSession({str(model)!r})", home)
    assert not [path for path in home.rglob("*") if path.is_file()]


def test_nncf_sends_nothing(tmp_path):
    code = "import edgevision, nncf.telemetry.wrapper as w; print(isinstance(w.telemetry, w.NNCFTelemetryStub))"
    assert run(code, tmp_path).stdout.split()[-1] == "True"
