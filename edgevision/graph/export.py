"""torch or a user's ONNX file -> the float ONNX graph every later stage works on.

Opset 20 or later, static shape with batch 1, every intermediate shape known, nodes named after modules, batch norms
folded into their convolutions. What onnxruntime computes from the graph is compared with torch before anybody sees it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime
import torch

from edgevision.compress import factorized_graph
from edgevision.compress.onnxgraph import finished
from edgevision.compress.qat import QatNetwork
from edgevision.compress.quiet import quiet
from edgevision.compress.session import session
from edgevision.errors import Mismatch, Unsupported
from edgevision.graph import binaryfunctions, reference, square
from edgevision.graph.binarybias import store_biases
from edgevision.graph.fold import fold_constants, fold_layer_scales
from edgevision.graph.from_qat import qdq_graph
from edgevision.graph.naming import name_by_module
from edgevision.graph.simplify import drop_zeros, flatten_reshapes, pool_means
from edgevision.graph.userfile import admitted
from edgevision.zoo.deform import DeformConv2d
from edgevision.zoo.model import Model

OPSET = 20

#: Largest difference to torch that is still rounding, as a share of the largest output.
RELATIVE_TOLERANCE = 1e-4
#: Largest difference of a network trained quantised to its file, on noise, as a share of the output's spread.
QUANTISED_TOLERANCE = 0.25
#: The same for networks that sign what they compute: rounding that takes a value across zero turns a whole bit.
BINARY_TOLERANCE = 0.1

_LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir")


@dataclass(frozen=True)
class Exported:
    """A float graph and how well it agrees with where it came from.

    Attributes:
        graph: the checked ONNX model.
        max_abs_error: largest absolute difference of the outputs to the source, run on the same two random images.
        notes: what was changed on the way in, for the ledger.
    """

    graph: onnx.ModelProto = field(repr=False)
    max_abs_error: float
    notes: tuple[str, ...] = ()


def export(model: Model) -> Exported:
    """Return the float ONNX graph of `model`, with batch 1.

    Raises:
        Unsupported: torch cannot export the module, a dilation leaves 0..7, or the user's graph holds what this
            version cannot read.
        Mismatch: onnxruntime computes something else from the graph than the source does.
    """
    if model.onnx is not None:
        graph, notes = admitted(model.onnx, model.input)
        before = _run(model.onnx, _images(model))
        return Exported(graph, _agreement(before, _run(graph, _images(model)), model.name, _tolerance(graph)), notes)
    if model.module is None:
        raise Unsupported("expected a torch module or an ONNX graph, got a model with neither", where=model.name)
    if isinstance(model.module, QatNetwork):
        return _trained_quantised(model, model.module)
    _refuse_dilations(model.module, model.name)
    graph = _from_torch(model, model.module)
    with torch.no_grad():
        expected = [model.module(torch.from_numpy(image)).numpy() for image in _images(model)]
    return Exported(graph, _agreement(expected, _run(graph, _images(model)), model.name, _tolerance(graph)))


def _trained_quantised(model: Model, network: QatNetwork) -> Exported:
    """A network that was trained quantised, compared with what its file means in integers (quant/NUMERICS.md).

    Training shifts whole products, NUMERICS section 4 rounds them to binary32 first: about one byte in a million is one
    step off, which a network that was hardly trained makes more of on its way to the outputs.
    """
    _, _, height, width = model.input.shape
    graph = qdq_graph(network, height, width)
    image = _images(model)[0]
    with torch.no_grad():
        expected = network(torch.from_numpy(image)).numpy()
    difference = expected - reference.run(graph, image)[0]
    if not difference.std() <= QUANTISED_TOLERANCE * expected.std():
        raise Mismatch(
            f"the exported graph does not compute what the network does: they differ by {difference.std():.3g} "
            f"(standard deviation), expected at most {QUANTISED_TOLERANCE:g} of the output's {expected.std():.3g}",
            where=model.name,
            fix="report this with the network",
        )
    return Exported(graph, float(np.abs(difference).max()))


def _refuse_dilations(module: torch.nn.Module, name: str) -> None:
    low, high = 0, square.LARGEST_DILATION
    reasons = [
        f"{path}: dilations from {layer.limits[0]:g} to {layer.limits[1]:g}"
        for path, layer in module.named_modules()
        if isinstance(layer, DeformConv2d) and layer.deployable and not layer.limits_fit
    ]
    if reasons:
        raise Unsupported(
            f"expected dilations within {low} to {high}, which {square.DOMAIN}::{square.OPERATOR} has",
            where=name,
            reasons=reasons,
            fix=f"train with limits=(1, {high}), or set the layers' `limits` so and measure what the clamp costs",
        )


def _from_torch(model: Model, module: torch.nn.Module) -> onnx.ModelProto:
    example = torch.zeros((1, *model.input.shape[1:]), dtype=torch.float32)
    try:
        with quiet(*_LOGGERS), torch.no_grad():
            program = torch.onnx.export(
                module.eval(),
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[model.input.name],
                output_names=["logits"],
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise Unsupported(
            "torch cannot export this module to ONNX",
            where=model.name,
            reasons=_causes(error),
            fix="rewrite the operation named above with operators ONNX has, or bring the network as an .onnx file",
        ) from error
    graph = program.model_proto  # type: ignore[union-attr]
    graph.graph.name = model.name
    graph.graph.doc_string = graph.doc_string = ""
    del graph.metadata_props[:], graph.graph.metadata_props[:]
    for value in (*graph.graph.input, *graph.graph.output, *graph.graph.value_info):
        del value.metadata_props[:]
    for tensor in graph.graph.initializer:
        del tensor.metadata_props[:]
    pool_means(graph.graph)
    flatten_reshapes(graph.graph)
    name_by_module(graph.graph)
    # The exporter leaves large constants, such as a table of biases per offset, to be computed on every run.
    fold_constants(graph.graph)
    drop_zeros(graph.graph)
    fold_layer_scales(graph.graph)
    store_biases(graph)
    square.declare(graph)
    binaryfunctions.declare(graph)
    factorized_graph.declare(graph)
    return finished(graph)


def _causes(error: BaseException) -> list[str]:
    """First line of each error in the chain, the deepest first: that is the one that says which operation."""
    lines: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        text = str(cause).strip().splitlines()
        if text and text[0] not in lines:
            lines.append(f"{type(cause).__name__}: {text[0]}")
        cause = cause.__cause__
    return lines[::-1]


def _images(model: Model) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((1, *model.input.shape[1:])).astype(np.float32) for _ in range(2)]


def _run(graph: onnx.ModelProto, images: list[np.ndarray]) -> list[np.ndarray]:
    runner = session(graph)
    name = runner.get_inputs()[0].name
    try:
        return [np.asarray(runner.run(None, {name: image})[0]) for image in images]
    except onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException as error:
        raise Unsupported(f"onnxruntime cannot run the graph: {error}", where=graph.graph.name) from error


def _tolerance(graph: onnx.ModelProto) -> float:
    binary = any(node.op_type in binaryfunctions.OPERATORS for node in graph.graph.node)
    return BINARY_TOLERANCE if binary else RELATIVE_TOLERANCE


def _agreement(expected: list[np.ndarray], got: list[np.ndarray], name: str, tolerance: float) -> float:
    error = max(float(np.abs(e - g).max()) for e, g in zip(expected, got, strict=True))
    largest = max(float(np.abs(e).max()) for e in expected)
    if not error <= tolerance * largest + 1e-6:
        raise Mismatch(
            f"the exported graph does not compute what the network does: largest difference {error:.3g}, "
            f"expected at most {tolerance:g} of the largest output {largest:.3g}",
            where=name,
            fix="is the network deterministic and in eval mode? otherwise report this with the network",
        )
    return error
