"""Commands on a board through the OpenSSH client: no agent of ours, no password prompt, every step with a limit."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from edgevision.device.answer import raise_timeout
from edgevision.errors import DeviceError, ToolMissing, UsageError

#: Names an ssh_config(5) file to use in place of ~/.ssh/config: ports, keys, jump hosts, host keys.
CONFIG_VARIABLE = "EDGEVISION_SSH_CONFIG"

_UNREACHED = 255
_EXPLAINED = (
    (
        r"host key verification failed|remote host identification has changed",
        "its host key is not the known one",
        "connect once by hand and compare the fingerprint: ssh {words}",
    ),
    (
        r"permission denied|too many authentication failures",
        "it refuses the key; no password is asked for here",
        "copy your key to it: ssh-copy-id {words}",
    ),
    (r"could not resolve", "the host name is not known", "check the name, or use the address"),
    (r"connection refused", "nothing listens there", "is sshd running, and is this its port? ssh:user@host:port"),
    (
        r"timed out|no route to host|network is unreachable",
        "it does not answer",
        "is the board on, and in this network?",
    ),
)


@dataclass(frozen=True)
class Address:
    """Where a board is: `user@host` and a port; None leaves the port to ssh's configuration."""

    host: str
    port: int | None = None


def parse_address(text: str) -> Address:
    """Read "user@host", "user@host:port" or "user@[::1]:port".

    Raises:
        UsageError: it is something else; a leading dash would be an option of ssh.

    >>> parse_address("pi@10.0.0.7:2222")
    Address(host='pi@10.0.0.7', port=2222)
    """
    found = re.fullmatch(r"((?:[\w.-]+@)?)(\[[0-9a-fA-F:.%\w]+\]|[\w.-]+)(?::(\d{1,5}))?", text)
    port = int(found.group(3)) if found and found.group(3) else None
    usable = found is not None and not text.startswith("-") and not found.group(2).startswith("-")
    if found is None or not usable or (port is not None and not 0 < port < 65536):
        raise UsageError(f"expected ssh:user@host or ssh:user@host:port, got 'ssh:{text}'", where="--device")
    return Address(found.group(1) + found.group(2).strip("[]"), port)


class Shell:
    """Runs POSIX shell commands on a board.

    Raises:
        ToolMissing: there is no ssh on this machine.
    """

    def __init__(self, address: Address, *, timeout: float) -> None:
        program = shutil.which("ssh")
        if program is None:
            raise ToolMissing("expected ssh, found none", where="PATH", fix="apt-get install openssh-client")
        self.address = address
        self.timeout = timeout
        config = os.environ.get(CONFIG_VARIABLE)
        port = ["-p", str(address.port)] if address.port else []
        limit = max(1, min(int(timeout), 15))
        self._words = [*(["-F", config] if config else []), *port, address.host]
        self._command = [program, "-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={limit}", *self._words]

    def run(self, command: str, step: str, *, stdin: bytes | Path = b"") -> subprocess.CompletedProcess[bytes]:
        """Run `command`; `stdin` is bytes or a file to stream. The exit code is the caller's to judge.

        Args:
            step: what this is for, as the errors name it.

        Raises:
            DeviceError: the board was not reached, or the step took longer than the limit.
        """
        begun = time.monotonic()
        try:
            # A file and not a pipe: a board that stops reading must not stop this side from counting the seconds.
            with tempfile.TemporaryFile() if isinstance(stdin, bytes) else stdin.open("rb") as source:
                if isinstance(stdin, bytes):
                    source.write(stdin)
                    source.seek(0)
                done = subprocess.run(
                    [*self._command, command], stdin=source, capture_output=True, timeout=self.timeout, check=False
                )
        except subprocess.TimeoutExpired:
            raise_timeout(step, where=self.address.host, elapsed=time.monotonic() - begun, limit=self.timeout)
        if done.returncode == _UNREACHED:
            self._explain(step, done.stderr.decode(errors="replace"))
        return done

    def must(self, command: str, step: str, *, stdin: bytes | Path = b"") -> bytes:
        """Run `command` and return its stdout.

        Raises:
            DeviceError: as `run`, and when the command ends with another code than 0.
        """
        done = self.run(command, step, stdin=stdin)
        if done.returncode:
            raise DeviceError(
                f"{step} failed on the board with exit code {done.returncode}",
                where=self.address.host,
                reasons=done.stderr.decode(errors="replace").strip().splitlines()[-5:],
            )
        return done.stdout

    def _explain(self, step: str, text: str) -> None:
        known = [pair for pattern, *pair in _EXPLAINED if re.search(pattern, text, re.IGNORECASE)]
        what, fix = known[0] if known else ("ssh gave up", "try it by hand: ssh {words}")
        raise DeviceError(
            f"the board cannot be reached: {what}",
            where=f"{self.address.host}, {step}",
            reasons=text.strip().splitlines()[-3:],
            fix=fix.format(words=" ".join(self._words)),
        )
