"""Post-training quantisation of weights and activations: NNCF on the ONNX graph, result in the canonical QDQ form.

NNCF decides where quantisers go; their ranges and the biases come from our own pass over the images (`observe`), and
`canonical.py` leaves one spelling of it all.
"""

from __future__ import annotations

from collections.abc import Sequence

import nncf
import onnx
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix, QuantizationParameters
from nncf.quantization.range_estimator import RangeEstimatorParametersSet

from edgevision.compress.activations import quantisers, set_ranges
from edgevision.compress.bias_correction import correct, differences
from edgevision.compress.binary_standins import put_back_binary, stand_in_binary
from edgevision.compress.calibration import Calibration
from edgevision.compress.canonical import canonical
from edgevision.compress.factorized_standins import put_back_factorized, stand_in_factorized
from edgevision.compress.layers import refuse_unknown, weighted_layers
from edgevision.compress.observe import observe
from edgevision.compress.onnxgraph import copy_of
from edgevision.compress.packing import packed
from edgevision.compress.quiet import quiet
from edgevision.compress.reconstruct import reconstruct
from edgevision.compress.standins import put_back, stand_in
from edgevision.compress.wide import wide_sums
from edgevision.compress.widths import weight_bits
from edgevision.data.metric import AnySplit
from edgevision.errors import UsageError
from edgevision.progress import Progress, silent
from edgevision.recipe import Quantize

#: Images NNCF sees: enough to place quantisers, whose ranges are then taken from all images.
PLACED_ON = 4


def quantize(
    model: onnx.ModelProto,
    step: Quantize,
    images: AnySplit,
    *,
    keep_fp: Sequence[str] = (),
    progress: Progress = silent,
) -> onnx.ModelProto:
    """Return `model` in integers as a canonical QDQ graph (see `canonical`).

    Weights are int8, symmetric in [-127, 127], one scale per output channel; those of 4 bits are INT4, chosen layer
    after layer (`reconstruct`). Activations are int8 or uint8, one scale and zero point per tensor; inputs of depthwise
    convolutions may have one per channel. Ranges are those of `ranges`, over all calibration images. Every Conv, Gemm,
    MatMul, Add, Mul and average pool gets quantised inputs; an activation function between such an operator and the
    next quantiser is computed in float between integer operators. Biases stay float32, and so do the sums `wide_sums`
    names.

    Args:
        model: the float graph, named nodes, batch 1.
        step: the recipe's settings.
        images: calibration images; the first `step.calibration_images` of them are read, sixteen in memory at a time.
        keep_fp: names of nodes that stay float with their inputs.

    Raises:
        UsageError: an unknown name in `keep_fp`, no images, or a graph that is quantised already.
        Unsupported: NNCF placed a quantiser that integer arithmetic cannot use.
    """
    refuse_unknown(model.graph, keep_fp)
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node):
        raise UsageError(
            "expected a float graph, got one that is quantised already",
            where=model.graph.name,
            fix="leave the quantize step out of the recipe",
        )
    name = model.graph.input[0].name
    shown = copy_of(model)
    floats = [*keep_fp, *wide_sums(model.graph), *stand_in(shown), *stand_in_binary(shown)]
    floats += stand_in_factorized(shown)
    # Layers of bits throughout are shown under other names, and are left alone as it is.
    shown_names = {node.name for node in shown.graph.node}
    floats = [name for name in dict.fromkeys(floats) if name in shown_names]
    stream = Calibration(images, name, step.calibration_images, progress)
    if not len(stream):
        raise UsageError("expected images to calibrate on, got none", fix="add --data NAME")
    quantised = _placed(shown, Calibration(images, name, min(len(stream), PLACED_ON)), step, floats)
    found = quantisers(quantised.graph)
    narrow = weight_bits(model.graph, step, keep_fp)
    lost = {key: value for key, value in differences(shown.graph, quantised.graph).items() if key not in narrow}
    observed = observe(
        shown,
        {item.tensor: item.axis for item in found},
        stream,
        histograms=[] if step.ranges == "min_max" else [item.tensor for item in found if item.axis is None],
        differences=lost if step.bias_correction else None,
    )
    set_ranges(quantised.graph, found, observed, step.ranges, symmetric=step.activations == "symmetric")
    correct(quantised.graph, observed.shifts)
    put_back(quantised, model, keep_fp=tuple(keep_fp))
    put_back_binary(quantised, model)
    put_back_factorized(quantised, model)
    made = canonical(quantised, expected=[name for name in weighted_layers(model.graph) if name not in keep_fp])
    if narrow:
        made = reconstruct(made, model, narrow, images, limit=step.calibration_images, progress=progress)
    return packed(made, [layer for layer, bits in narrow.items() if bits <= 4])


def _placed(model: onnx.ModelProto, images: Calibration, step: Quantize, floats: Sequence[str]) -> onnx.ModelProto:
    """`model` with quantisers where NNCF wants them, with weights quantised, and ranges of a few images."""
    per_channel = step.weights == "symmetric_per_channel"
    preset = nncf.QuantizationPreset.MIXED if step.activations == "asymmetric" else nncf.QuantizationPreset.PERFORMANCE
    with quiet("nncf"):
        return nncf.quantize(
            model,
            nncf.Dataset(images),
            preset=preset,
            target_device=nncf.TargetDevice.ANY,
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=list(floats)) if floats else None,
            advanced_parameters=AdvancedQuantizationParameters(
                weights_quantization_params=QuantizationParameters(per_channel=per_channel),
                activations_quantization_params=QuantizationParameters(per_channel=None if per_channel else False),
                disable_bias_correction=True,
                # Our integer kernels accumulate in 32 bits and cannot saturate, so no bit is given up for it.
                overflow_fix=OverflowFix.DISABLE,
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            ),
        )
