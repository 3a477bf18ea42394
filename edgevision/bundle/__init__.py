"""The bundle: kernels, plan, weights and runner in one folder that needs no runtime on the board (FORMAT.md)."""

from edgevision.bundle.bundle import Bundle, load, write
from edgevision.bundle.manifest import GoldenVector, Manifest, Origin
from edgevision.bundle.verification import Verified, verify

__all__ = ["Bundle", "GoldenVector", "Manifest", "Origin", "Verified", "load", "verify", "write"]
