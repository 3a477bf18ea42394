"""Against a real tracker and server on the loopback."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers import programs
from helpers.execution import run_on
from helpers.operators import CASES, model_of

from edgevision.compiler import compile_graph
from edgevision.device.rpc import RpcDevice
from edgevision.device.tuning import tuner_for
from edgevision.errors import DeviceError, Mismatch


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(module: str, port: int, *words: str) -> subprocess.Popen[bytes]:
    ports = ["--host", "127.0.0.1", "--port", str(port), "--port-end", str(port + 1)]
    null = subprocess.DEVNULL
    command = [sys.executable, "-m", f"tvm.exec.{module}", *ports, *words]
    return subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True)


@pytest.fixture(scope="module")
def tracker() -> Iterator[int]:
    port = free_port()
    started = [start("rpc_tracker", port)]
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        started.append(start("rpc_server", free_port(), "--tracker", f"127.0.0.1:{port}", "--key", "board"))
        yield port
    finally:
        for process in reversed(started):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def test_the_walk_runs_inside_the_server(tracker: int, tmp_path: Path) -> None:
    device = RpcDevice(f"127.0.0.1:{tracker}:board", timeout=60)
    folder = programs.bundled(tmp_path / "b")
    device.push(folder)
    images = programs.images(3)
    np.testing.assert_array_equal(device.run(images), programs.reference(images, integer=False))
    timing = device.profile(4, threads=2, per_step=True)
    assert (len(timing.run_ns), timing.threads) == (4, 2)
    assert [len(step.ns) for step in timing.steps] == [4, 4]
    assert timing.first_ns > 0
    assert device.facts()["kernel"]

    # What the runner refuses arrives as the same error as everywhere else.
    damaged = tmp_path / "weights.bin"
    damaged.write_bytes(b"\0" * (folder / "weights.bin").stat().st_size)
    device._session.upload(str(damaged), "weights.bin")
    with pytest.raises(Mismatch, match="sha256"):
        device.profile(1, threads=1)


def test_kernels_are_tuned_on_the_board(tracker: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xgboost")
    monkeypatch.setenv("EDGEVISION_CACHE", str(tmp_path))
    nodes, shape, constants = CASES["log softmax along memory"]
    tuner = tuner_for(f"rpc:127.0.0.1:{tracker}:board", programs.host(), minutes=15 / 60, timeout=30)
    network = model_of(nodes, shape, **constants)
    program = compile_graph(network, programs.host(), tuner=tuner)
    (table,) = tmp_path.rglob("database_tuning_record.json")
    times = [json.loads(line)[1][1][0] for line in table.read_text().splitlines()]
    # A candidate that could not be measured is written down as 10^10 seconds.
    assert any(0 < seconds < 1 for seconds in times)
    x = np.ones(shape, np.float32)
    np.testing.assert_allclose(run_on(program, x), np.full(shape, -np.log(shape[-1])), rtol=1e-5)


def test_without_a_tracker_the_command_to_start_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="tracker cannot be reached") as caught:
        RpcDevice(f"127.0.0.1:{free_port()}:board").push(programs.bundled(tmp_path / "b"))
    assert "rpc_tracker" in str(caught.value)


def test_a_board_that_never_comes_is_a_timeout(tracker: int, tmp_path: Path) -> None:
    folder = programs.bundled(tmp_path / "b")
    with pytest.raises(DeviceError, match=r"waiting for a free board 'nobody'"):
        RpcDevice(f"127.0.0.1:{tracker}:nobody", timeout=3).push(folder)
