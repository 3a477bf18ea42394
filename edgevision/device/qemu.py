"""qemu-user: another architecture's instructions on this machine. It checks results; its times mean nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.bundle.bundle import Bundle
from edgevision.device import executable, facts
from edgevision.device.device import RawTiming
from edgevision.device.pushed import checked_bundle, need_bundle, refuse_target
from edgevision.errors import ToolMissing
from edgevision.target import Arch, Target

#: Emulator, and where Debian's cross libc packages put the loader a dynamic bundle needs.
_EMULATORS: dict[Arch, tuple[str, str, str]] = {
    "aarch64": ("qemu-aarch64", "/usr/aarch64-linux-gnu", "libc6-arm64-cross"),
    "armv7": ("qemu-arm", "/usr/arm-linux-gnueabihf", "libc6-armhf-cross"),
}


class QemuDevice:
    """An emulated Arm CPU, as a `Device`.

    Args:
        arch: which emulator.
        timeout: seconds one run may take.

    Raises:
        ToolMissing: the emulator is not installed.
    """

    def __init__(self, arch: Arch, *, timeout: float = 60) -> None:
        program, self._sysroot, self._libc_package = _EMULATORS[arch]
        self.name = f"qemu-{arch}"
        self.arch = arch
        self.timeout = timeout
        path = shutil.which(program)
        if path is None:
            raise ToolMissing(f"expected {program}, found none", where=self.name, fix="apt-get install qemu-user")
        self._emulator = path
        self._bundle: Bundle | None = None

    def ready(self, target: Target, *, static: bool = False, need_bytes: int = 0) -> None:
        """Compare the architecture, and look for the libc a dynamic bundle needs.

        Raises:
            ToolMissing: a dynamic bundle, and no libc of its architecture here.
        """
        refuse_target(target, self.arch, name=self.name)
        self._need_libc(static=static or target.libc == "musl")

    def push(self, bundle: Path) -> None:
        """Check the bundle and that the emulator can load it.

        Raises:
            ToolMissing: a dynamic bundle, and no libc of its architecture here.
        """
        checked = checked_bundle(bundle, self.arch, name=self.name)
        self._need_libc(static=checked.manifest.static)
        self._bundle = checked

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Run the bundle on each sample of `inputs`."""
        bundle = need_bundle(self._bundle, name=self.name)
        return executable.run_samples(bundle, inputs, name=self.name, prefix=self._prefix(), timeout=self.timeout)

    def profile(self, n: int, *, warmup: int = 3, threads: int = 1, per_step: bool = False) -> RawTiming:
        """Times of the emulator, marked "emulated": which steps exist, never how long they take."""
        bundle = need_bundle(self._bundle, name=self.name)
        flags = executable.timing_flags(bundle, n, warmup=warmup, threads=threads, per_step=per_step)
        answer = executable.start(bundle, flags, name=self.name, prefix=self._prefix(), timeout=self.timeout)
        return answer.timing(emulated=True)

    def facts(self) -> dict[str, Any]:
        """Of the emulated machine only the architecture is known; the frequency of this one would mislead."""
        return {**facts.unknown(), "arch": self.arch, "model": f"emulated by {Path(self._emulator).name}"}

    def _need_libc(self, *, static: bool) -> None:
        if not static and not Path(self._root(), "lib").is_dir():
            raise ToolMissing(
                f"the bundle is linked dynamically and needs a libc for {self.arch}, found none in {self._root()}",
                where=self.name,
                fix=f"apt-get install {self._libc_package}, set QEMU_LD_PREFIX, or deploy with --static",
            )

    def _root(self) -> str:
        return os.environ.get("QEMU_LD_PREFIX", self._sysroot)

    def _prefix(self) -> list[str]:
        return [self._emulator, "-L", self._root()]
