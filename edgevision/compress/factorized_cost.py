"""Whether a factorized layer is computed from its factors or from the kernel they make, by what it costs.

The 1x1 convolutions run at the rate of the dense one; the depthwise ones at a third of it, with the additions of the
products (float kernels of one AVX-512 core, 18 shapes of ResNet-18 and of 5x5 and 7x7 layers: this costs them within
a fifth. On other cores it is a model, not measured).
"""

from __future__ import annotations

from edgevision.compress.factorized_graph import Shape

#: Time of a multiply-accumulate of a depthwise convolution, in those of a dense one.
FLOAT_DEPTHWISE, BYTE_DEPTHWISE = 3.0, 9.0


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
