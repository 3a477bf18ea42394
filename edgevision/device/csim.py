"""The engine's C simulation as a device: the driver of the board over a stand-in for pynq, without a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgevision.bundle.bundle import Bundle, load
from edgevision.device import facts
from edgevision.device.device import RawTiming, StepTime
from edgevision.device.pushed import need_bundle
from edgevision.device.samples import samples_of
from edgevision.engine import csim
from edgevision.engine.deployed import BITSTREAM
from edgevision.engine.figures import figures
from edgevision.engine.hardware import checked, fingerprint
from edgevision.engine.onboard import EngineBundle
from edgevision.engine.pynq_board import PynqBoard
from edgevision.engine.simulated_pynq import SimulatedPynq
from edgevision.errors import DeviceError, Unsupported
from edgevision.target import Engine, Target

NAME = "csim"


class CsimDevice:
    """The C simulation, as a `Device`.

    Args:
        pynq: made for the target's engine when a bundle is pushed, unless given.
    """

    name = NAME

    def __init__(self, *, timeout: float = 60, pynq: SimulatedPynq | None = None) -> None:
        self.timeout, self._given = timeout, pynq
        self._bundle: Bundle | None = None
        self._running: EngineBundle | None = None
        self._pynq: SimulatedPynq | None = None

    def ready(self, target: Target, *, static: bool = False, need_bytes: int = 0) -> None:
        """Make sure that the target has an engine and that its simulation can be built; builds it."""
        with csim.loaded(_engine(target)):
            pass

    def push(self, bundle: Path) -> None:
        """Check the bundle and give the programs to the driver, which checks them word by word."""
        loaded = load(bundle)
        if loaded.manifest.engine is None:
            raise Unsupported(
                "the bundle has no program for the engine", where=f"device {self.name}, {bundle}",
                fix=f"--device {loaded.manifest.target.default_device}, or deploy a network the engine can run",
            )  # fmt: skip
        engine = _engine(loaded.manifest.target)
        if self._running is not None:
            self._running.close()
        self._pynq = self._given or SimulatedPynq(engine)
        board = PynqBoard(bundle / BITSTREAM, pynq=self._pynq, name=self.name)
        self._running = EngineBundle(bundle, board, timeout=self.timeout)
        self._bundle = loaded

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Run the simulated engine on each image."""
        bundle, running = self._pushed()
        samples = samples_of(inputs, bundle.manifest)
        try:
            return np.concatenate([running.run(sample) for sample in samples]).astype(np.float32)
        except DeviceError as error:
            raise self._explained(error) from error

    def layers(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Every tensor that reaches memory, layer by layer; image float32 (1, C, H, W)."""
        _, running = self._pushed()
        try:
            return running.layers(image[0])
        except DeviceError as error:
            raise self._explained(error) from error

    def profile(self, n: int, *, warmup: int = 3, threads: int = 1, per_step: bool = False) -> RawTiming:
        """No time at all but the modelled one of each call, marked "modelled": it is never a latency."""
        _, running = self._pushed()
        _, calls = figures(running.network, running.engine)
        steps = tuple(
            StepTime(1 + index, (round(call.added * 1e3 / running.engine.clock_mhz),))
            for index, call in enumerate(calls)
        )
        return RawTiming(init_ns=0, first_ns=0, run_ns=(), steps=steps, timing="modelled")

    def facts(self) -> dict[str, Any]:
        """What is simulated; nothing of the machine it runs on, which says nothing about a board."""
        known = {**facts.unknown(), "model": "C simulation of the engine"}
        if self._running is not None:
            known["model"] = (
                f"C simulation of engine {fingerprint(self._running.engine)} for {self._running.engine.part}"
            )
        return known

    def _pushed(self) -> tuple[Bundle, EngineBundle]:
        bundle = need_bundle(self._bundle, name=self.name)
        assert self._running is not None
        return bundle, self._running

    def _explained(self, error: DeviceError) -> DeviceError:
        why = self._pynq.why if self._pynq is not None else ""
        reasons = [f"the simulation: {why}", *error.reasons] if why else error.reasons
        return DeviceError(error.what, where=error.where, fix=error.fix, reasons=reasons)


def _engine(target: Target) -> Engine:
    if target.engine is None:
        raise Unsupported(f"target '{target.name}' has no engine to simulate", fix=f"--device {target.default_device}")
    return checked(target.engine, f"[engine] of target '{target.name}'")
