"""The bundle: kernels, plan, weights and runner in one folder that needs no runtime on the board (FORMAT.md)."""

from edgevision.bundle.bundle import Bundle, load, write
from edgevision.bundle.engine_bundle import EngineBuild, build, golden_layers, write_engine
from edgevision.bundle.manifest import GoldenVector, Manifest, Origin
from edgevision.bundle.verification import Verified, verify

__all__ = [
    "Bundle", "EngineBuild", "GoldenVector", "Manifest", "Origin", "Verified", "build", "golden_layers", "load",
    "verify", "write", "write_engine",
]  # fmt: skip
