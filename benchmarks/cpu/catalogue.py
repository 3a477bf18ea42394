"""What is measured: networks and layer shapes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """A network by its name in the zoo, or the stem of a file in the folder `--onnx`.

    Attributes:
        transformer: what NNCF is told, so that OpenVINO's int8 network is the one its makers would make.
        binary: measured in one bit too, attention and MLP, weights and activations; what is left is w8a8.
        threads_only: measured for the gain of a second thread, ours alone in float.
    """

    name: str
    transformer: bool = False
    binary: bool = False
    threads_only: bool = False


NETWORKS = (
    Network("cas_vit_xs", binary=True),
    Network("deit_tiny", transformer=True, binary=True),
    Network("deit_small", transformer=True, binary=True),
    Network("swin_tiny", transformer=True, binary=True),
    Network("efficientnet_lite0"),
    Network("mobilenet_v2"),
    Network("resnet18"),
    Network("cas_vit_m", threads_only=True),
)


@dataclass(frozen=True)
class Gemm:
    """A dense layer: (rows, depth) times (depth, columns), and a bias."""

    rows: int
    depth: int
    columns: int

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.rows}x{self.depth}x{self.columns}"

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.rows * self.depth * self.columns


@dataclass(frozen=True)
class Depthwise:
    """A 3x3 depthwise convolution of a square image with padding 1, stride 1, and a bias."""

    side: int
    channels: int

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"dw3x3 {self.side}x{self.side}x{self.channels}"

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return 9 * self.side * self.side * self.channels


#: Linear layers of DeiT-T, DeiT-S and Swin-T, then the pointwise convolutions of CAS-ViT XS as the gemms they are.
GEMMS = tuple(
    Gemm(*sides)
    for sides in (
        (197, 192, 192),
        (197, 192, 768),
        (197, 768, 192),
        (197, 384, 384),
        (197, 384, 1152),
        (197, 384, 1536),
        (197, 1536, 384),
        (3136, 96, 384),
        (784, 192, 768),
        (49, 768, 3072),
        (49, 3072, 768),
        (3136, 48, 192),
        (3136, 192, 48),
        (784, 56, 224),
        (196, 112, 448),
        (49, 220, 880),
    )
)

#: The depthwise convolutions of CAS-ViT XS.
DEPTHWISE = tuple(Depthwise(*sides) for sides in ((56, 48), (28, 56), (14, 112), (7, 220)))

SHAPES: tuple[Gemm | Depthwise, ...] = (*GEMMS, *DEPTHWISE)
