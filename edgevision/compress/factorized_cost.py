"""Whether a factorized layer is computed from its factors or from the kernel they make, by what it costs.

One kernel computes all three ways (`compiler.kernels.factorized`): the products of its 1x1 part at the rate of a dense
convolution, those of the thin filters slower, as each is one of a load as well. The constants are what
`benchmarks/factorized_layers.py` measures on one AVX-512 core with byte products, over the layers of ResNet-18 and of
the wave surrogate: with them the choice is the faster of the two kernels, or within a twentieth of it, in each of 37
layers. On other cores they are a model. A transposed layer in factors is thin convolutions of its own, slower still.
"""

from __future__ import annotations

from edgevision.compress.factorized_graph import Shape

#: Time of a multiply-accumulate of a thin filter, in those of the dense kernel of the same type; thin filters are
#: float32 in both.
FLOAT_THIN, BYTE_THIN = 2.5, 6.0


def for_floats(shape: Shape) -> bool:
    """Whether a layer in factors takes less time than the dense one, in float32.

    >>> resnet = Shape(64, 64, 4, (3, 3), (56, 56), (56, 56))
    >>> for_floats(resnet), for_floats(Shape(64, 128, 4, (3, 3), (56, 56), (28, 28)))
    (True, False)
    """
    return _cost(shape, FLOAT_THIN) < shape.dense_macs


def for_integers(shape: Shape) -> bool:
    """The same where activations, and channel factors or kernel, are bytes."""
    return _cost(shape, BYTE_THIN) < shape.dense_macs


def _cost(shape: Shape, thin: float) -> float:
    pointwise, rows, columns = shape.macs
    return pointwise + thin * (rows + columns)
