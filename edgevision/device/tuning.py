"""Where `--tune` times its candidates: this machine, or a board behind a TVM tracker."""

from __future__ import annotations

import platform
from pathlib import Path

from edgevision.bundle.toolchain import need_compiler
from edgevision.compiler.measuring import Board
from edgevision.compiler.tuning import Tuner
from edgevision.device.rpc import RpcDevice
from edgevision.errors import UsageError
from edgevision.machine import machine_arch
from edgevision.target import Target


def tuner_for(device: str | None, target: Target, *, minutes: float, timeout: float) -> Tuner:
    """Return a tuner for `target` that times kernels on `device`.

    Args:
        device: "host" or "rpc:HOST:PORT:KEY"; without it, this machine when the target is this machine.
        timeout: seconds to wait for the tracker.

    Raises:
        UsageError: the device is another kind, or not what the target is.
        DeviceError: the tracker cannot be reached.
        ToolMissing: no C compiler links for the target.
    """
    if device is not None and device.startswith("rpc:"):
        board = RpcDevice(device.removeprefix("rpc:"), timeout=timeout)
        board.need_tracker()
        compiler = need_compiler(target)

        def link(objects: Path, library: Path) -> None:
            compiler.run(["-shared", "-fPIC", objects.name, "-lm", "-o", library.name], cwd=objects.parent)

        # Longer than any search: a session left behind by a stopped one ends all the same.
        limit = 60 * minutes + 600
        return Tuner(minutes, lambda: Board(board.tracker, board.key, link, seconds=limit))
    if device not in (None, "host") or target.name != "host" or machine_arch(platform.machine()) != target.arch:
        raise UsageError(
            f"tuning times kernels on the machine they are for, and {device or 'this machine'} is not {target.name}",
            where="--tune",
            fix="--target host, or --device rpc:HOST:PORT:KEY for a board that registered with a TVM tracker",
        )
    return Tuner(minutes)
