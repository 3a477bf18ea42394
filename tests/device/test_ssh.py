"""Against a real sshd on the loopback, without privileges, with keys made for the occasion."""

import contextlib
import getpass
import platform
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from helpers import programs
from helpers.artefacts import make_network
from helpers.tools import need

from edgevision import api, bundle, compiler, machine
from edgevision.compress.compressed import Compressed
from edgevision.device import open_device
from edgevision.device.shell import CONFIG_VARIABLE, parse_address
from edgevision.device.ssh import SshDevice
from edgevision.errors import DeviceError, DoesNotFit, Mismatch, Unsupported, UsageError
from edgevision.target import load as load_target

SSHD = "/usr/sbin/sshd"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """Folder of keys and configurations, and the port sshd listens on; its user's home is a folder of the test."""
    need(SSHD, "ssh", "ssh-keygen")
    folder, port = tmp_path_factory.mktemp("sshd"), free_port()
    for name in ("host", "user", "stranger"):
        make_key(folder / name)
    home = folder / "home"
    home.mkdir()
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "changed").write_text(f"[127.0.0.1]:{port} {(folder / 'stranger.pub').read_text()}")
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f'ForceCommand cd {home} && exec sh -c "$SSH_ORIGINAL_COMMAND"\nMaxStartups 100\n'
    )
    for name, key, known in (
        ("good", "user", "known"),
        ("stranger", "stranger", "known"),
        ("changed", "user", "changed"),
    ):
        (folder / f"{name}_config").write_text(
            f"Host *\n  IdentityFile {folder}/{key}\n  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/{known}\n"
            f"  StrictHostKeyChecking yes\n  User {getpass.getuser()}\n"
        )
    # An unprivileged sshd needs this folder only when it is started by root.
    if not Path("/run/sshd").exists() and getpass.getuser() == "root":
        Path("/run/sshd").mkdir()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield folder, port
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def board(server: tuple[Path, int], monkeypatch: pytest.MonkeyPatch) -> SshDevice:
    monkeypatch.setenv(CONFIG_VARIABLE, str(server[0] / "good_config"))
    shutil.rmtree(server[0] / "home" / ".cache", ignore_errors=True)
    return SshDevice(f"127.0.0.1:{server[1]}", timeout=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return programs.bundled(tmp_path_factory.mktemp("ssh") / "float")


def remote(server: tuple[Path, int], folder: Path) -> Path:
    return server[0] / "home" / ".cache" / "edgevision" / bundle.load(folder).identity[:24]


def test_a_board_gives_the_reference_and_is_left_clean(
    board: SshDevice, server: tuple[Path, int], folder: Path
) -> None:
    assert bundle.verify(bundle.load(folder), board).max_abs_error == 0
    images = programs.images(3)
    np.testing.assert_array_equal(board.run(images), programs.reference(images, integer=False))
    assert [path.name for path in remote(server, folder).parent.iterdir()] == [remote(server, folder).name]


def test_only_files_that_differ_are_copied_again(board: SshDevice, server: tuple[Path, int], folder: Path) -> None:
    board.push(folder)
    there = remote(server, folder)
    (there / "weights.bin").write_bytes(b"damaged")
    before = {path.name: path.stat().st_ino for path in there.iterdir()}
    board.push(folder)
    after = {path.name: path.stat().st_ino for path in there.iterdir()}
    assert {name for name in before if before[name] != after[name]} <= {"weights.bin"}
    assert (there / "weights.bin").read_bytes() == (folder / "weights.bin").read_bytes()


def test_a_board_is_timed_by_its_own_clock_and_says_what_it_is(board: SshDevice, folder: Path) -> None:
    board.push(folder)
    timing = board.profile(5, threads=2, per_step=True)
    assert (len(timing.run_ns), timing.timing, timing.threads) == (5, "measured", 2)
    assert timing.peak_rss_bytes
    assert board.facts()["cores"] >= 1


def test_damage_on_the_board_is_a_mismatch(board: SshDevice, server: tuple[Path, int], folder: Path) -> None:
    board.push(folder)
    path = remote(server, folder) / "weights.bin"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(Mismatch, match="sha256"):
        board.run(programs.images())


def test_a_bundle_for_another_machine_is_refused_before_it_is_copied(
    board: SshDevice, server: tuple[Path, int], tmp_path: Path
) -> None:
    with pytest.raises(Unsupported, match="aarch64"):
        board.push(programs.bundled(tmp_path / "arm", load_target("rpi4")))
    assert not (server[0] / "home" / ".cache").exists()


@pytest.mark.parametrize(
    ("config", "what", "fix"),
    [("stranger", "refuses the key", "ssh-copy-id"), ("changed", "host key is not the known one", "connect once")],
)
def test_refused_keys_are_explained(
    server: tuple[Path, int], folder: Path, monkeypatch: pytest.MonkeyPatch, config: str, what: str, fix: str
) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, str(server[0] / f"{config}_config"))
    with pytest.raises(DeviceError, match=what) as caught:
        SshDevice(f"127.0.0.1:{server[1]}").push(folder)
    assert caught.value.fix and fix in caught.value.fix
    assert caught.value.exit_code == 7


def test_a_closed_port_and_an_unknown_name_are_explained(folder: Path) -> None:
    need("ssh")
    with pytest.raises(DeviceError, match="nothing listens"):
        SshDevice(f"127.0.0.1:{free_port()}").push(folder)
    with pytest.raises(DeviceError, match="name is not known"):
        SshDevice("board.invalid", timeout=10).push(folder)


def test_a_board_is_asked_before_anything_is_built_and_nothing_is_left_on_it(
    board: SshDevice, server: tuple[Path, int]
) -> None:
    board.ready(programs.host(), need_bytes=1 << 20)
    with pytest.raises(Unsupported, match=f"the device is {machine.machine_arch(platform.machine())}.*rpi4 is aarch64"):
        board.ready(load_target("rpi4"))
    other = msgspec.structs.replace(programs.host().cpu, requires=("fma", "quantum"))
    with pytest.raises(Unsupported, match="quantum"):
        board.ready(msgspec.structs.replace(programs.host(), cpu=other))
    with pytest.raises(DoesNotFit, match="MB free"):
        board.ready(programs.host(), need_bytes=1 << 60)
    assert not (server[0] / "home" / ".cache").exists()


def test_a_board_that_cannot_be_written_is_refused_before_the_build(board: SshDevice) -> None:
    # Root may write anywhere, so the board's answer is given here.
    printed = "x86_64\n\n==> room\n/home/pi/.cache\nno\n"
    board._shell.must = lambda *_: printed.encode()  # type: ignore[method-assign]
    with pytest.raises(DeviceError, match="may not write") as caught:
        board.ready(msgspec.structs.replace(programs.host(), arch="x86_64"))
    assert "/home/pi/.cache" in str(caught.value)


def test_a_board_without_df_is_taken_at_its_word(board: SshDevice) -> None:
    board._shell.must = lambda *_: f"{platform.machine()}\n\n==> room\n/home/pi\nyes\n".encode()  # type: ignore[method-assign]
    board.ready(programs.host(), need_bytes=1 << 40)


@pytest.mark.parametrize(("address", "error"), [("closed", DeviceError), ("open", Unsupported)])
def test_deploy_builds_nothing_for_a_board_that_cannot_take_it(
    server: tuple[Path, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, error: type[Exception]
) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, str(server[0] / "good_config"))
    network = make_network("fp32")
    folder = tmp_path / "compressed" / network.info.name
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"graph")
    (folder / "compressed.json").write_text("{}")
    monkeypatch.setattr(Compressed, "load", staticmethod(lambda folder: Compressed(folder, network.info)))
    monkeypatch.setattr(Compressed, "graph", lambda self: pytest.fail("the graph was read"))
    monkeypatch.setattr(compiler, "compile_graph", lambda *_, **__: pytest.fail("something was compiled"))
    port = free_port() if address == "closed" else server[1]
    with pytest.raises(error):
        api.deploy(target="rpi4", run=True, device=f"ssh:127.0.0.1:{port}", out=tmp_path, timeout=20)
    assert not (tmp_path / "bundles").exists()


def test_a_step_that_hangs_names_host_step_limit_and_flag(board: SshDevice, folder: Path) -> None:
    board.push(folder)
    board._shell.timeout = 1
    with pytest.raises(DeviceError, match=r"the run took longer.*the limit is 1 s") as caught:
        board.profile(1_000_000, warmup=1_000_000, threads=8)
    assert "127.0.0.1" in str(caught.value) and "--timeout" in str(caught.value)
    ends = time.monotonic() + 20
    while hung_runners() and time.monotonic() < ends:
        time.sleep(0.2)
    assert not hung_runners()


def hung_runners() -> list[str]:
    """Command lines of the runners the step above started."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in lines if line.startswith("./runner") and "--warmup 1000000" in line]


def test_a_device_is_opened_by_its_name() -> None:
    need("ssh")
    assert open_device("ssh:pi@10.0.0.7:2222", load_target("rpi4")).name == "ssh:pi@10.0.0.7:2222"
    assert parse_address("pi@[::1]:2222").host == "pi@::1"
    for bad in ("-oProxyCommand=sh", "pi@-x", "a;b", "$(x)", "pi@host:0"):
        with pytest.raises(UsageError):
            parse_address(bad)
