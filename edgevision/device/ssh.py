"""A Linux board reached with ssh: the bundle is copied, run in a shell, and its answer read back.

The board needs sshd, a POSIX shell with mkdir, cat, tar and rm (busybox has them), and nothing of ours. sha256sum,
where it exists, saves copying files the board already has.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import secrets
import shlex
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.bundle.bundle import Bundle, load
from edgevision.bundle.engine_bundle import layers_of
from edgevision.bundle.manifest import NAME
from edgevision.device import executable, facts
from edgevision.device.answer import Answer, raise_failure, read_answer
from edgevision.device.device import RawTiming
from edgevision.device.pushed import need_bundle, refuse_machine, refuse_other_arch, runs_on
from edgevision.device.samples import outputs_of, samples_of
from edgevision.device.shell import Shell, parse_address
from edgevision.errors import DeviceError, DoesNotFit, EdgeVisionError, Mismatch
from edgevision.machine import machine_arch
from edgevision.target import Target

#: Below the home folder of the board's user; a bundle has a folder named after its identity.
_FOLDER = ".cache/edgevision"
_ROOM_NAME = "room"
#: Prints the deepest folder there is on the way to a bundle's, whether it can be written, and the KiB free in it.
_ROOM = (
    'd="$PWD"; for f in .cache .cache/edgevision; do [ -d "$f" ] && d="$PWD/$f"; done; '
    f'echo; echo "==> {_ROOM_NAME}"; echo "$d"; [ -w "$d" ] && echo yes || echo no; df -Pk "$d" 2>/dev/null; true'
)


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

    def ready(self, target: Target, *, static: bool = False, need_bytes: int = 0) -> None:
        """Ask the board, in one connection that writes nothing, what it is and how much room there is for a bundle."""
        printed = self._shell.must(f"{facts.SCRIPT}; {_ROOM}", "asking what the board is").decode(errors="replace")
        texts = facts.read_printed(printed)
        refuse_machine(target, facts.parse(texts), name=self.name)
        folder, free = _room(texts.get(_ROOM_NAME, ""))
        if folder and free is None:
            raise DeviceError(
                "the board's user may not write where bundles go",
                where=f"{self.name}, {folder}",
                fix=f"is its file system read-only, or the folder another user's? ls -ld {folder}",
            )
        if free is not None and free < need_bytes:
            raise DoesNotFit(
                f"the bundle takes at least {need_bytes / 1e6:.1f} MB, the board has {free / 1e6:.1f} MB free",
                where=f"{self.name}, {folder}",
                fix=f"free some space on the board; earlier bundles are in ~/{_FOLDER}",
            )

    def push(self, bundle: Path) -> None:
        """Copy the files the board does not have yet, and let the board hash what arrived."""
        checked = load(bundle)
        remote = f"{_FOLDER}/{checked.identity[:24]}"
        wanted = {entry.path: entry.sha256 for entry in checked.board_files} | {NAME: checked.identity}
        hashing = _hashing(remote, sorted(wanted))
        printed = self._shell.must(f"uname -m; {hashing}", "asking what the board is and has")
        machine, _, hashes = printed.decode(errors="replace").partition("\n")
        refuse_other_arch(checked, runs_on(machine_arch(machine.strip()), checked.manifest.target), name=self.name)
        have = _read_hashes(hashes)
        missing = [name for name in sorted(wanted) if have.get(name) != wanted[name]]
        if missing:
            self._copy(checked, remote, {name: wanted[name] for name in missing})
        self._bundle, self._remote = checked, remote

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Run the bundle on each sample of `inputs` in one process on the board."""
        bundle = need_bundle(self._bundle, name=self.name)
        samples = samples_of(inputs, bundle.manifest)
        return outputs_of(self._output(samples), len(samples), bundle.manifest.outputs[0], where=self.name)

    def layers(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Every tensor of a bundle for the engine, layer by layer; image float32 (1, C, H, W)."""
        bundle = need_bundle(self._bundle, name=self.name)
        return layers_of(bundle, self._output(samples_of(image, bundle.manifest), "--layers"), where=self.name)

    def _output(self, samples: np.ndarray, *flags: str) -> bytes:
        scratch = f"run-{secrets.token_hex(8)}"
        here, there = f"{_FOLDER}/{scratch}", f"../{scratch}"
        try:
            files = ["--input", f"{there}/input.bin", "--output", f"{there}/output.bin"]
            self._start([*flags, *files], before=f"mkdir {here} && cat > {here}/input.bin && ", stdin=samples.tobytes())
            return self._shell.must(f"cat {here}/output.bin && rm -r {here}", "fetching the output")
        except EdgeVisionError:
            # The board may be gone: what went wrong first is what matters.
            with contextlib.suppress(EdgeVisionError):
                self._shell.run(f"rm -rf {here}", "removing a folder")
            raise

    def profile(self, n: int, *, warmup: int = 3, threads: int = 1, per_step: bool = False) -> RawTiming:
        """Time `n` runs on the first golden input, in one process on the board."""
        bundle = need_bundle(self._bundle, name=self.name)
        flags = executable.timing_flags(bundle, n, warmup=warmup, threads=threads, per_step=per_step)
        return self._start(flags).timing()

    def facts(self) -> dict[str, Any]:
        """What Linux says about the board now."""
        return facts.parse(facts.read_printed(self._shell.must(facts.SCRIPT, "reading facts").decode(errors="replace")))

    def _start(self, flags: Sequence[str], *, before: str = "", stdin: bytes = b"") -> Answer:
        # A connection that ends leaves the runner going; the board ends it itself where it has `timeout`.
        limit = int(self._shell.timeout) + 2
        command = f"{before}cd {self._remote} && t=; timeout 1 true 2>/dev/null && t='timeout {limit}'; "
        command += f"$t ./runner . --json {shlex.join(flags)}"
        done = self._shell.run(command, "the run", stdin=stdin)
        where = f"{self.name}, {self._remote}"
        if done.returncode:
            raise_failure(done.returncode, done.stderr.decode(errors="replace"), where=where)
        return read_answer(done.stdout, where=where)

    def _copy(self, bundle: Bundle, remote: str, wanted: Mapping[str, str]) -> None:
        with tempfile.TemporaryDirectory(prefix="edgevision-") as scratch:
            archive = Path(scratch, "files.tar")
            _pack(bundle, wanted, archive)
            command = f"mkdir -p {remote} && tar -xf - -C {remote} && {{ {_hashing(remote, sorted(wanted))}; }}"
            got = _read_hashes(self._shell.must(command, "copying the bundle", stdin=archive).decode(errors="replace"))
        # A card that is full or worn shows here, and not as a wrong picture later; without sha256sum the runner checks.
        wrong = [name for name in wanted if got and got.get(name) != wanted[name]]
        if wrong:
            raise DeviceError(
                "files arrived on the board with another hash",
                where=f"{self.name}, {remote}",
                reasons=wrong[:10],
                fix="is the board's disk full or read-only? df -h",
            )


def _room(printed: str) -> tuple[str, int | None]:
    """Folder and free bytes from what `_ROOM` prints; None where nothing can be written, a lot where df is missing."""
    folder, writable, *table = [*printed.splitlines(), "", ""]
    if writable != "yes":
        return folder, None
    cells = next((line.split() for line in reversed(table) if line.strip()), [])
    return folder, int(cells[3]) * 1024 if len(cells) > 3 and cells[3].isdigit() else 1 << 62


def _hashing(remote: str, names: Sequence[str]) -> str:
    """Shell words that print the hashes of the files the board has; nothing where it has no sha256sum."""
    return f"cd {remote} 2>/dev/null && sha256sum {shlex.join(names)} 2>/dev/null; true"


def _read_hashes(printed: str) -> dict[str, str]:
    pairs = [line.split(maxsplit=1) for line in printed.splitlines()]
    return {pair[1].lstrip("*"): pair[0] for pair in pairs if len(pair) == 2}


def _pack(bundle: Bundle, wanted: Mapping[str, str], archive: Path) -> None:
    """Write a tar of those files in the oldest common format, owned by nobody in particular."""
    with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, sha256 in wanted.items():
            content = (bundle.folder / name).read_bytes()
            if hashlib.sha256(content).hexdigest() != sha256:
                raise Mismatch("a file of the bundle changed while it was copied", where=str(bundle.folder / name))
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755 if name in ("runner", "kernels.so") else 0o644
            tar.addfile(info, io.BytesIO(content))
