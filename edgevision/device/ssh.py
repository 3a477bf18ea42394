"""A Linux board reached with ssh: the bundle is copied, run in a shell, and its answer read back.

The board needs sshd, a POSIX shell with mkdir, cat, tar and rm (busybox has them), and nothing of ours. sha256sum,
where it exists, saves copying files the board already has.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import shlex
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.bundle.bundle import Bundle
from edgevision.bundle.manifest import NAME, read_manifest
from edgevision.device import executable, facts
from edgevision.device.answer import Answer, raise_failure, read_answer
from edgevision.device.device import RawTiming
from edgevision.device.pushed import checked_bundle, need_bundle
from edgevision.device.samples import outputs_of, samples_of
from edgevision.device.shell import Shell, parse_address
from edgevision.errors import DeviceError
from edgevision.machine import machine_arch
from edgevision.target import Arch

#: Below the home folder of the board's user; a bundle has a folder named after its identity.
_FOLDER = ".cache/edgevision"


class SshDevice:
    """A board behind ssh, as a `Device`.

    Args:
        address: "user@host" or "user@host:port"; keys, jump hosts and the like come from ssh's own configuration.
        timeout: seconds each step (copy, run, fetch) may take.
    """

    def __init__(self, address: str, *, timeout: float = 60) -> None:
        self.name = f"ssh:{address}"
        self._shell = Shell(parse_address(address), timeout=timeout)
        self._bundle: Bundle | None = None
        self._remote = ""

    def push(self, bundle: Path) -> None:
        """Copy the files the board does not have yet, and let the board hash them all."""
        machine = self._shell.must("uname -m", "asking for the machine type").decode().strip()
        checked = checked_bundle(bundle, _runs_on(machine_arch(machine), bundle), name=self.name)
        remote = f"{_FOLDER}/{checked.identity[:24]}"
        wanted = {entry.path: entry.sha256 for entry in checked.manifest.files}
        wanted[NAME] = checked.identity
        have = self._hashes(remote, sorted(wanted))
        missing = [name for name in sorted(wanted) if have.get(name) != wanted[name]]
        if missing:
            self._copy(checked, remote, missing)
        self._bundle, self._remote = checked, remote

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Run the bundle on each sample of `inputs` in one process on the board."""
        bundle = need_bundle(self._bundle, name=self.name)
        samples = samples_of(inputs, bundle.manifest)
        with self._scratch() as folder:
            given, result = f"../{folder}/input.bin", f"../{folder}/output.bin"
            self._shell.must(f"cat > {_FOLDER}/{folder}/input.bin", "copying the input", stdin=samples.tobytes())
            self._start(bundle, ["--input", given, "--output", result])
            raw = self._shell.must(f"cat {_FOLDER}/{folder}/output.bin", "fetching the output")
        return outputs_of(raw, len(samples), bundle.manifest.outputs[0], where=self.name)

    def profile(self, n: int, *, warmup: int = 3, threads: int = 1, per_step: bool = False) -> RawTiming:
        """Time `n` runs on the first golden input, in one process on the board."""
        bundle = need_bundle(self._bundle, name=self.name)
        flags = executable.timing_flags(bundle, n, warmup=warmup, threads=threads, per_step=per_step)
        return self._start(bundle, flags).timing()

    def facts(self) -> dict[str, Any]:
        """What Linux says about the board now."""
        return facts.parse(facts.read_printed(self._shell.must(facts.SCRIPT, "reading facts").decode(errors="replace")))

    def _start(self, bundle: Bundle, flags: Sequence[str]) -> Answer:
        where = f"{self.name}, {self._remote}"
        done = self._shell.run(f"cd {self._remote} && ./runner . --json {shlex.join(flags)}", "the run")
        if done.returncode:
            raise_failure(done.returncode, done.stderr.decode(errors="replace"), where=where)
        return read_answer(done.stdout, where=where)

    def _hashes(self, remote: str, names: Sequence[str]) -> dict[str, str]:
        """Hashes of the files the board already has; none where it has no sha256sum."""
        command = f"mkdir -p {remote} && cd {remote} && sha256sum {shlex.join(names)} 2>/dev/null; true"
        lines = self._shell.must(command, "hashing what the board has").decode(errors="replace").splitlines()
        pairs = [line.split(maxsplit=1) for line in lines]
        return {pair[1].lstrip("*"): pair[0] for pair in pairs if len(pair) == 2}

    def _copy(self, bundle: Bundle, remote: str, names: Sequence[str]) -> None:
        with tempfile.TemporaryDirectory(prefix="edgevision-") as scratch:
            archive = Path(scratch, "files.tar")
            _pack(bundle, names, archive)
            self._shell.must(f"mkdir -p {remote} && tar -xf - -C {remote}", "copying the bundle", stdin=archive)
        # A card that is full or worn shows here, and not as a wrong picture later; without sha256sum the runner checks.
        got = self._hashes(remote, names)
        wrong = [n for n in names if got and got.get(n) != _expected(bundle, n)]
        if wrong:
            raise DeviceError(
                "files arrived on the board with another hash",
                where=f"{self.name}, {remote}",
                reasons=wrong[:10],
                fix="is the board's disk full or read-only? df -h",
            )

    @contextmanager
    def _scratch(self) -> Iterator[str]:
        """A folder on the board beside the bundle, for one run."""
        folder = f"run-{secrets.token_hex(8)}"
        self._shell.must(f"mkdir {_FOLDER}/{folder}", "making a folder")
        try:
            yield folder
        finally:
            self._shell.run(f"rm -r {_FOLDER}/{folder}", "removing a folder")


def _runs_on(machine: Arch, folder: Path) -> Arch:
    """A 64-bit Arm kernel may have a 32-bit userland (Raspberry Pi OS did), so there armv7 is let through."""
    return "armv7" if machine == "aarch64" and read_manifest(folder).target.arch == "armv7" else machine


def _expected(bundle: Bundle, name: str) -> str:
    if name == NAME:
        return bundle.identity
    return next(entry.sha256 for entry in bundle.manifest.files if entry.path == name)


def _pack(bundle: Bundle, names: Sequence[str], archive: Path) -> None:
    """Write a tar of those files in the oldest common format, owned by nobody in particular."""
    with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in names:
            content = (bundle.folder / name).read_bytes()
            if name != NAME and hashlib.sha256(content).hexdigest() != _expected(bundle, name):
                raise DeviceError("a file of the bundle changed while it was copied", where=name)
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755 if name in ("runner", "kernels.so") else 0o644
            tar.addfile(info, io.BytesIO(content))
