"""CoDeNet's layers as an integer network with random numbers: the shapes of a real network, without training one."""

from __future__ import annotations

import numpy as np
import torch

from edgevision.compress.qat_codenet import quantised_codenet
from edgevision.engine.checks import tensors_of
from edgevision.engine.execute import convolved, result_of
from edgevision.engine.from_qat import integer_network
from edgevision.engine.network import INPUT, Convolution, Header, IntegerNetwork, Parameters, Requantise
from edgevision.zoo.codenet import STRIDE, VARIANTS, CoDeNet


def codenet(
    name: str, *, side: int | None = None, classes: int = 20, seed: int = 0, spread: bool = True
) -> IntegerNetwork:
    """The network of variant `name`; `side` of the image where it is not the published one, `spread` as below."""
    return with_random_numbers(codenet_header(name, side=side, classes=classes), seed, spread=spread)


def codenet_header(name: str, *, side: int | None = None, classes: int = 20) -> Header:
    """What a trained network of the variant would be exported to, all but its numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = CoDeNet(VARIANTS[name], classes=classes).eval()
        network = quantised_codenet(module, [torch.rand(1, 3, STRIDE, STRIDE)])
    side = side or VARIANTS[name].side
    return integer_network(network, side, side).header


def with_random_numbers(header: Header, seed: int = 0, *, spread: bool = True) -> IntegerNetwork:
    """Weights over their full range.

    Args:
        spread: find multipliers and biases that spread what a random image makes over all bytes, which takes as long as
            running the network; without it they are 1 and 0.
    """
    rng = np.random.default_rng(seed)
    made = tensors_of(header)
    zeros = {name: 0 if tensor.group is None else header.groups[tensor.group].zero for name, tensor in made.items()}
    tensors = {INPUT: rng.integers(-128, 128, header.input_shape).astype(np.int8)}
    network = IntegerNetwork(header, {})
    for layer in header.layers:
        weight = None
        if isinstance(layer, Convolution):
            half = 1 << layer.bits - 1
            shape = layer.channels, layer.depth, layer.kernel, layer.kernel
            weight = rng.integers(-half, half, shape).astype(np.int8)
        if isinstance(layer, Convolution | Requantise) and not spread:
            channels = made[layer.name].shape[0]
            network.parameters[layer.name] = Parameters(*np.int16([[1] * channels, [0] * channels]), weight)
        if not spread:
            continue
        if isinstance(layer, Requantise):
            network.parameters[layer.name] = _spread(tensors[layer.input], layer.shift, 100, None, rng)
        if isinstance(layer, Convolution):
            x, dilation = tensors[layer.input], None if layer.dilation is None else tensors[layer.dilation]
            sums = convolved(x, weight, layer.stride, zeros[layer.input], dilation)
            width, middle = (60, None) if layer.limits is None else (2, 3)
            network.parameters[layer.name] = _spread(sums, layer.shift, width, middle, rng, weight)
        tensors[layer.name] = result_of(layer, tensors, zeros, network)
    return network


def _spread(sums: np.ndarray, shift: int, width: float, middle: float | None, rng: np.random.Generator,
            weight: np.ndarray | None = None) -> Parameters:  # fmt: skip
    flat = sums.reshape(len(sums), -1)
    signs = rng.choice([-1, 1], len(flat))
    multiplier = np.clip(np.rint(2**shift * width / (flat.std(axis=1) + 1)), 1, 32767) * signs
    wanted = rng.uniform(0, 255, len(flat)) if middle is None else middle
    bias = np.clip(np.rint(wanted - flat.mean(axis=1) * multiplier / 2**shift), -32768, 32767)
    return Parameters(multiplier.astype(np.int16), bias.astype(np.int16), weight)
