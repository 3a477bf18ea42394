"""Sizes of real files, binary against fp32, of DeiT, Swin and CAS-ViT: no training, random weights.

Two settings: every linear layer and pointwise convolution of one bit that is no first or last layer (Swin's patch
mergings and the gates of CAS-ViT included) and the rest with 8-bit weights; and the paper's, attention and MLP weights
alone of one bit and the rest float, beside the sizes it prints. What the first setting does to accuracy is not said
here: recipes keep mergings and gates in 8 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import common
import onnx
from torch import nn

from edgevision.compress.binary_networks import binarised
from edgevision.compress.weights import quantize_weights
from edgevision.graph.export import export
from edgevision.recipe import Binarize
from edgevision.zoo import load_model
from edgevision.zoo.model import Model

#: Network to the size of its binary form in the paper (arXiv 2211.07091), MB; None where it has none.
NETWORKS = {"deit_tiny": 2.22, "deit_small": None, "swin_tiny": 12.6, "cas_vit_xs": None}


def main() -> None:
    """Write three files for each network and compare."""
    parser = common.flags(__doc__ or "")
    parser.add_argument("--models", nargs="+", choices=sorted(NETWORKS), default=list(NETWORKS))
    asked = parser.parse_args()
    folder = Path(asked.work)
    folder.mkdir(parents=True, exist_ok=True)
    rows = {}
    for name in asked.models:
        model = load_model(name, weights="random")
        whole = _stages(model, Binarize(part="all", layers=tuple(_others(model.module))))
        paper = _stages(model, Binarize(part="all", activation_bits=32))
        full = _written(folder / f"{name}-fp32.onnx", export(model).graph)
        small = _written(folder / f"{name}-binary-int8.onnx", quantize_weights(export(whole).graph))
        printed = _written(folder / f"{name}-binary-float.onnx", export(paper).graph)
        rows[name] = {
            "fp32_bytes": full,
            "binary_int8_bytes": small,
            "ratio": full / small,
            "paper_setting_bytes": printed,
            "paper_megabytes": NETWORKS[name],
        }
        print(
            f"{name:12s} fp32 {full / 1e6:7.2f} MB, binary and int8 {small / 1e6:6.2f} MB, {full / small:5.2f} times; "
            f"paper's setting {printed / 1e6:6.2f} MB, printed there {NETWORKS[name] or '-'}",
            flush=True,
        )
    common.write(asked.out, "edgevision.bench.binary-sizes/1", {"rows": rows})


def _others(module: nn.Module) -> Iterator[str]:
    """Swin's patch mergings, and the pointwise convolutions of CAS-ViT's gates."""
    for name, layer in module.named_modules():
        if name.endswith(".reduction") or (".oper_" in name and isinstance(layer, nn.Conv2d) and layer.groups == 1):
            yield name


def _stages(model: Model, step: Binarize) -> Model:
    assert model.module is not None
    return replace(model, module=binarised(model.module, step)[0].eval())


def _written(path: Path, graph: onnx.ModelProto) -> int:
    path.write_bytes(graph.SerializeToString(deterministic=True))
    return path.stat().st_size


if __name__ == "__main__":
    main()
