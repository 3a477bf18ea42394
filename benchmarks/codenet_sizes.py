"""Parameters, multiply-accumulates and bytes of CoDeNet's five configurations beside the published ones.

The file is the one `compress --recipe w4a8-qat` would write, of untrained weights, 20 classes: 4 bits packed two to a
byte, the first layer in 8, and scales, biases and graph on top, which the published sizes leave out.
"""

from __future__ import annotations

import common
import torch

from edgevision.compress.qat_codenet import quantised_codenet
from edgevision.graph.from_qat import qdq_graph
from edgevision.zoo.codenet import VARIANTS, count_macs
from edgevision.zoo.load import load_model

#: Size in MiB, GMAC (arXiv 2006.08357v2, table 6, and the README of its code).
PUBLISHED = {
    "codenet_a": (0.76, 0.29), "codenet_b": (0.76, 0.29), "codenet_c": (0.76, 1.14), "codenet_d": (2.90, 3.54),
    "codenet_e": (2.90, 3.58),
}  # fmt: skip


def main() -> None:
    """Print one line for each configuration and write them all."""
    asked = common.flags(__doc__ or "").parse_args()
    print(f"{'':11s} side  parameters  MiB at 4 bits  paper  file, MiB  GMAC  paper")
    rows = []
    for name, (size, macs) in PUBLISHED.items():
        model = load_model(name, weights="random")
        side = VARIANTS[name].side
        network = model.module
        assert network is not None
        counted = sum(parameter.numel() for parameter in network.parameters())
        gmac = count_macs(network, side) / 1e9
        images = [torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1]
        trained = quantised_codenet(network, images, preprocessing=model.preprocessing)
        file = len(qdq_graph(trained, side, side).SerializeToString())
        rows.append(
            {"name": name, "side": side, "parameters": counted, "mib_at_4_bits": counted / 2 / 2**20,
             "published_mib": size, "file_bytes": file, "gmac": gmac, "published_gmac": macs}
        )  # fmt: skip
        sizes = f"{counted / 2 / 2**20:15.2f}{size:7.2f}{file / 2**20:11.2f}"
        print(f"{name:11s}{side:5d}{counted:12,d}{sizes}{gmac:6.2f}{macs:7.2f}")
    common.write(asked.out, "edgevision.bench.codenet_sizes/1", {"rows": rows})


if __name__ == "__main__":
    main()
