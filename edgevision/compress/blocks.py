"""Layers gathered into the blocks of their network, by the paths of their modules."""

from __future__ import annotations

from collections.abc import Iterable


def block_of(layer: str) -> str:
    """The block a layer belongs to: its path up to the first numbers in it, the layer's own name left out.

    >>> [block_of(name) for name in ("network.0.1.attn.qkv", "features.2.conv.0.0", "layer1.0.add", "mlp.2", "head")]
    ['network.0.1', 'features.2', 'layer1.0', 'mlp', 'head']
    """
    parts = layer.split(".")
    above = parts[:-1] or parts
    first = next((at for at, part in enumerate(above) if part.isdigit()), 0)
    last = first
    while last + 1 < len(above) and above[last].isdigit() and above[last + 1].isdigit():
        last += 1
    return ".".join(above[: last + 1])


def blocks(layers: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Layers by block, in the order of their first layers; a block of one layer is that layer and is left out.

    >>> blocks(["stem", "layer1.0.conv1", "layer1.0.add", "head"])
    {'layer1.0': ('layer1.0.conv1', 'layer1.0.add')}
    """
    found: dict[str, list[str]] = {}
    for layer in layers:
        found.setdefault(block_of(layer), []).append(layer)
    return {name: tuple(members) for name, members in found.items() if len(members) > 1}
