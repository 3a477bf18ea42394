"""The int8 files of the peers, made by their own tools."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

_DENSE = ("MatMul", "Gemm")
_CONV = (*_DENSE, "Conv")
_U8, _S8 = quantization.QuantType.QUInt8, quantization.QuantType.QInt8


class _Reader(quantization.CalibrationDataReader):
    def __init__(self, name: str, images: Sequence[np.ndarray]) -> None:
        self._left = iter([{name: image} for image in images])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._left, None)


#: Dynamic: gemms, or gemms and convolutions.
_DYNAMIC = {"dynamic": _DENSE, "dynamic conv": _CONV}
#: Static: activations, and the operators quantised; None is every operator the quantizer knows.
_STATIC = {"static u8s8": (_U8, _CONV), "static s8s8": (_S8, _CONV), "static u8s8 all": (_U8, None)}


def names(graph: Path) -> list[str]:
    """Names of the int8 networks onnxruntime's quantizer can make of a float one."""
    nodes = onnx.load(str(graph), load_external_data=False).graph.node
    convolves = any(node.op_type == "Conv" for node in nodes)
    return [label for label in (*_DYNAMIC, *_STATIC) if convolves or label != "dynamic conv"]


def onnxruntime_file(label: str, graph: Path, images: Sequence[np.ndarray], out: Path) -> Path:
    """An int8 network by onnxruntime's own quantizer, weights int8 with one scale per channel.

    Args:
        label: one of `names`.
        graph: the float network.
        images: calibration inputs (1, ...), for the static ones.
        out: folder to write to; a file already there is kept.
    """
    path = out / f"ort-{label.replace(' ', '-')}.onnx"
    if path.is_file():
        return path
    prepared = out / "ort-prepared.onnx"
    with _silenced():
        if not prepared.is_file():
            quant_pre_process(str(graph), str(prepared), skip_symbolic_shape=True)
        if label in _DYNAMIC:
            quantization.quantize_dynamic(
                str(prepared), str(path), op_types_to_quantize=list(_DYNAMIC[label]), per_channel=True, weight_type=_S8
            )
            return path
        activations, operators = _STATIC[label]
        name = onnx.load(str(graph), load_external_data=False).graph.input[0].name
        quantization.quantize_static(
            str(prepared), str(path), _Reader(name, images), quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(operators) if operators else None, per_channel=True,
            activation_type=activations, weight_type=_S8,
        )  # fmt: skip
    return path


def openvino_file(graph: Path, images: Sequence[np.ndarray], out: Path, *, transformer: bool) -> Path:
    """The int8 network NNCF makes of OpenVINO's own model, as .xml; a file already there is kept."""
    path = out / "nncf.xml"
    if not path.is_file():
        import nncf
        import openvino

        out.mkdir(parents=True, exist_ok=True)
        with _silenced():
            quantised = nncf.quantize(
                openvino.Core().read_model(str(graph)),
                nncf.Dataset(list(images)),
                model_type=nncf.ModelType.TRANSFORMER if transformer else None,
                subset_size=len(images),
            )
        openvino.save_model(quantised, str(path), compress_to_fp16=False)
    return path


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keep the quantizers' advice and bars away from the benchmark's own lines."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
