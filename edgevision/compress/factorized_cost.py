"""Whether a factorized layer is computed from its factors or from the kernel they make, by what it costs.

The 1x1 convolutions run at the rate of the dense one. The depthwise ones, with the additions of the products, run at a
third of it in float32: measured on one AVX-512 core over 17 layers of ResNet-18 and the like, whose times that gives
within a fifth. For int8 a tenth follows from the 3x3 depthwise kernel there. On other cores both are a model.
"""

from __future__ import annotations

from edgevision.compress.factorized_graph import Shape

#: Time of a multiply-accumulate of a depthwise convolution, in those of a dense one.
FLOAT_DEPTHWISE, BYTE_DEPTHWISE = 3.0, 10.0


def for_floats(shape: Shape) -> bool:
    """Whether the thin convolutions take less time than the dense one, in float32.

    >>> resnet = Shape(64, 64, 4, (3, 3), (56, 56), (56, 56))
    >>> for_floats(resnet), for_floats(Shape(64, 128, 4, (3, 3), (56, 56), (28, 28)))
    (True, False)
    """
    return _cost(shape, FLOAT_DEPTHWISE) < shape.dense_macs


def for_integers(shape: Shape) -> bool:
    """The same for int8 weights and activations, whose dense products are a greater gain than their depthwise ones."""
    return _cost(shape, BYTE_DEPTHWISE) < shape.dense_macs


def _cost(shape: Shape, depthwise: float) -> float:
    pointwise, rows, columns = shape.macs
    return pointwise + depthwise * (rows + columns)
