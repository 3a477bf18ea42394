"""A user's own ONNX file, checked before anything is built on it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import onnx
from onnx import TensorProto

from edgevision.data.preprocess import Preprocessing
from edgevision.errors import Unsupported, UsageError
from edgevision.files import sha256_of
from edgevision.zoo.model import InputSpec, Model, Provenance

#: A protobuf message cannot be larger; weights beyond it lie beside the file as external data.
MAX_BYTES = 2 << 30
#: The first opset with per-channel QuantizeLinear.
MIN_OPSET = 13


def load_onnx(
    path: Path,
    *,
    image_size: int | None = None,
    preprocessing: Preprocessing | None = None,
    classes: tuple[str, ...] = (),
) -> Model:
    """Read an ONNX network with one float input (N, C, H, W); a free batch is set to 1.

    Args:
        path: the file.
        image_size: height and width to use where the file leaves them free.
        preprocessing: what is done to images; without it, resize to the input and ImageNet mean and deviation.
        classes: class names in the order of the outputs.

    Raises:
        UsageError: not a valid ONNX file, or external weights that lie outside its folder.
        Unsupported: more than one input or output, another type or layout, an opset below 13; all reasons at once.
    """
    model = _read(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    reasons = _opset_reasons(model) + _port_reasons(model, inputs)
    if preprocessing is not None:
        height, width = preprocessing.height, preprocessing.width
    else:
        height = width = image_size or 0
    shape = () if reasons else _static_shape(inputs[0], height, width, reasons)
    if reasons:
        raise Unsupported("this ONNX file cannot be taken as it is", where=str(path), reasons=reasons)
    _set_batch_one(model, inputs[0], shape)
    return Model(
        name=path.stem,
        input=InputSpec(name=inputs[0].name, shape=shape),
        preprocessing=preprocessing or default_preprocessing(shape),
        provenance=Provenance(origin=str(path), sha256=sha256_of(path)),
        classes=classes,
        onnx=model,
    )


def default_preprocessing(shape: tuple[int, ...]) -> Preprocessing:
    """Resize straight to the (H, W) of `shape` (N, C, H, W); ImageNet statistics for three channels."""
    if shape[1] == 3:
        return Preprocessing(height=shape[2], width=shape[3])
    return Preprocessing(height=shape[2], width=shape[3], channels=1, mean=(0.5,), std=(0.5,))


def _read(path: Path) -> onnx.ModelProto:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UsageError(f"expected an ONNX file of at most {MAX_BYTES:,} bytes, got {size:,}", where=str(path))
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise UsageError(f"cannot read the ONNX file: {error.strerror}", where=str(path)) from error
    except UsageError:
        raise
    except Exception as error:
        # protobuf's DecodeError is not importable under one name in every version.
        raise UsageError(f"the file is not ONNX, or is truncated: {error}", where=str(path)) from error
    _load_external(model, path)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        # The checker raises ValidationError, shape inference InferenceError; neither shares a base with the other.
        first = "; ".join(str(error).strip().splitlines()[:2])
        raise UsageError(f"the ONNX checker refuses the file: {first}", where=str(path)) from error
    return model


def _load_external(model: onnx.ModelProto, path: Path) -> None:
    """Load weights kept beside the file; a location outside its folder is refused."""
    reasons = []
    for tensor in onnx.external_data_helper._get_all_tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        parts = PurePosixPath(location)
        beside = path.parent / location
        if not location or parts.is_absolute() or ".." in parts.parts or beside.is_symlink() or not beside.is_file():
            reasons.append(f"{tensor.name}: '{location}' is not a file below the ONNX file's folder")
    if reasons:
        raise UsageError("weights outside the file cannot be read", where=str(path), reasons=reasons[:20])
    onnx.load_external_data_for_model(model, str(path.parent))


def _opset_reasons(model: onnx.ModelProto) -> list[str]:
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset >= MIN_OPSET:
        return []
    return [
        f"expected opset {MIN_OPSET} or later, got {opset}: convert it with onnx.version_converter.convert_version, "
        "or export it again"
    ]


def _port_reasons(model: onnx.ModelProto, inputs: list[onnx.ValueInfoProto]) -> list[str]:
    reasons = []
    if len(inputs) != 1:
        reasons.append(f"expected one input, got {len(inputs)}: {', '.join(v.name for v in inputs[:8])}")
    if len(model.graph.output) != 1:
        names = ", ".join(v.name for v in model.graph.output[:8])
        reasons.append(
            f"expected one output, got {len(model.graph.output)}: {names}; cut with onnx.utils.extract_model"
        )
    for value in inputs[:1]:
        if not value.type.HasField("tensor_type"):
            reasons.append(f"input '{value.name}': expected a tensor")
        elif value.type.tensor_type.elem_type != TensorProto.FLOAT:
            got = TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
            reasons.append(f"input '{value.name}': expected float32, got {got}")
    return reasons


def _static_shape(value: onnx.ValueInfoProto, height: int, width: int, reasons: list[str]) -> tuple[int, ...]:
    """The input's shape with batch 1 and free sides filled; what cannot be filled goes to `reasons`."""
    sizes = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in value.type.tensor_type.shape.dim]
    if len(sizes) != 4:
        reasons.append(f"input '{value.name}': expected four dimensions (N, C, H, W), got {len(sizes)}")
        return ()
    dims = value.type.tensor_type.shape.dim
    empty = [axis for axis, dim in enumerate(dims) if dim.HasField("dim_value") and not dim.dim_value]
    if empty:
        reasons.append(f"input '{value.name}': expected sizes above 0, got 0 in dimension {', '.join(map(str, empty))}")
        return ()
    if sizes[0] > 1:
        reasons.append(f"input '{value.name}': expected batch 1 or a free batch, got {sizes[0]}")
    if sizes[1] not in (1, 3):
        layout = " (channels last? transpose inside the network)" if sizes[3] in (1, 3) else ""
        reasons.append(
            f"input '{value.name}': expected 1 or 3 channels in dimension 1, got {sizes[1] or 'free'}{layout}"
        )
    for side, asked, axis in (("height", height, 2), ("width", width, 3)):
        if sizes[axis] and asked and sizes[axis] != asked:
            reasons.append(f"input '{value.name}': {side} is fixed at {sizes[axis]}, asked for {asked}")
        sizes[axis] = sizes[axis] or asked
        if not sizes[axis]:
            reasons.append(f"input '{value.name}': {side} is free; give --image-size")
    return (1, *sizes[1:])


def _set_batch_one(model: onnx.ModelProto, value: onnx.ValueInfoProto, shape: tuple[int, ...]) -> None:
    """Fix the input's shape and infer the others again, since theirs named the free batch."""
    dims = value.type.tensor_type.shape.dim
    if [dim.dim_value for dim in dims] == list(shape):
        return
    for dim, size in zip(dims, shape, strict=True):
        dim.dim_value = size
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    model.CopyFrom(onnx.shape_inference.infer_shapes(model, data_prop=True))
