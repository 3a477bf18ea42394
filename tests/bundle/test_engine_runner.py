"""The runner in C drives an engine behind files: a thread plays the hardware with the C simulation."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from helpers import engine_artefacts
from helpers.bitstreams import HWH, bit
from helpers.engines import Z2, require_csim
from helpers.tools import need

from edgevision import bundle
from edgevision.bundle.engine_bundle import golden_layers, layers_of
from edgevision.compress.compressed import Compressed
from edgevision.device.samples import outputs_of
from edgevision.device.ssh import SshDevice
from edgevision.engine import csim, deployed, fileformat
from edgevision.engine.from_graph import integer_network_of
from edgevision.engine.pynq_board import FPGA_RESET, SLCR_UNLOCK, UNLOCK_KEY
from edgevision.engine.registers import CONTROL, DONE, IDLE, OFFSETS, START
from edgevision.machine import resolve
from edgevision.target import load as load_target

PHYSICAL, MEMORY_BYTES = 0x18000000, 8 << 20


class Hardware(threading.Thread):
    """Registers, memory and system registers as files; runs the simulation when START is written."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.files = {}
        for name, size in (("registers", 4096), ("memory", MEMORY_BYTES), ("system", 4096)):
            path = folder / name
            path.write_bytes(bytes(size))
            with path.open("r+b") as file:
                self.files[name] = mmap.mmap(file.fileno(), size)
        (folder / "manager").mkdir()
        (folder / "manager" / "state").write_text("operating\n")
        self.folder, self.stalls, self.resets, self.ended = folder, 0, 0, False
        self.put(CONTROL, IDLE)

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "EDGEVISION_REGISTERS": str(self.folder / "registers"),
            "EDGEVISION_MEMORY": f"{self.folder / 'memory'}@{PHYSICAL:#x}",
            "EDGEVISION_SLCR": str(self.folder / "system"),
            "EDGEVISION_FPGA_MANAGER": str(self.folder / "manager"),
            "EDGEVISION_FIRMWARE": str(self.folder),
        }  # fmt: skip

    def get(self, offset: int, file: str = "registers") -> int:
        return struct.unpack_from("<I", self.files[file], offset)[0]

    def put(self, offset: int, value: int) -> None:
        struct.pack_into("<I", self.files["registers"], offset, value)

    def run(self) -> None:
        held = False
        while not self.ended:
            unlocked = self.get(SLCR_UNLOCK, "system") == UNLOCK_KEY
            holds = unlocked and bool(self.get(FPGA_RESET, "system") & 1)
            if held and not holds:
                self.resets += 1
                self.put(CONTROL, IDLE)
            held = holds
            if self.get(CONTROL) == START:
                if self.stalls:
                    self.stalls -= 1
                    self.put(CONTROL, 0)
                else:
                    self.work()
            time.sleep(0.0005)

    def work(self) -> None:
        memory = np.frombuffer(self.files["memory"], np.uint8)
        at = {name: self.get(offset) for name, offset in OFFSETS.items()}
        begin = at["program"] - PHYSICAL
        words = memory[begin : begin + 8 * at["words"]].copy().view(np.uint64)
        maps = memory[at["features"] - PHYSICAL :]
        said = csim.execute(words, Z2, maps)
        self.put(OFFSETS["finished"], int(said.split("calls ")[1].split()[0]))
        self.put(CONTROL, DONE | IDLE)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bundle whose runner is of this machine and whose bitstream is a few bytes."""
    require_csim()
    out = tmp_path_factory.mktemp("runner")
    network = integer_network_of(Compressed.load(engine_artefacts.write(out)).graph())
    host = resolve(load_target("host"))
    target = msgspec.structs.replace(load_target("pynq-z2"), arch=host.arch, triple=host.triple, cpu=host.cpu)
    image = np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32)
    built = bundle.build(network, target, image)
    origin = bundle.Origin(
        model="codenet_a", recipe="w4a8-qat", seed=0, input_name="input",
        preprocessing=Compressed.load(out / "compressed" / "tiny-w4a8-qat").info.preprocessing,
    )  # fmt: skip
    (out / "engine.bit").write_bytes(bit())
    (out / "engine.hwh").write_bytes(HWH)
    return bundle.write_engine(built, target, origin, out / "bundle", bitstream=out / "engine.bit")


@pytest.fixture
def hardware(tmp_path):
    thread = Hardware(tmp_path)
    thread.start()
    yield thread
    thread.ended = True
    thread.join()


def runner(made, hardware, *flags, **environment):
    command = ["./runner", ".", "--json", *flags]
    return subprocess.run(
        command, cwd=made.folder, env=hardware.environment | environment, capture_output=True, text=True, check=False
    )  # fmt: skip


def test_it_gives_the_golden_maps_and_loads_the_bitstream(made, hardware):
    path = hardware.folder / "out.bin"
    done = runner(made, hardware, "--input", "golden/input_0.bin", "--output", str(path))
    assert done.returncode == 0, done.stderr
    wanted = made.golden(made.manifest.golden[0])[1]
    assert np.array_equal(outputs_of(path.read_bytes(), 1, made.manifest.outputs[0], where="here"), wanted)
    (firmware,) = hardware.folder.glob("edgevision-*.bin")
    assert firmware.read_bytes() == (made.folder / deployed.WORDS).read_bytes()
    assert (hardware.folder / "manager" / "firmware").read_text() == firmware.name


def test_the_runner_for_the_board_gives_them_too(made, hardware, tmp_path):
    need("qemu-arm")
    target = load_target("pynq-z2")
    origin, network = made.manifest.origin, fileformat.read(made.folder / deployed.NETWORK)
    images = np.stack([made.golden(vector)[0][0] for vector in made.manifest.golden])
    files = made.folder.parent
    board = bundle.write_engine(
        bundle.build(network, target, images), target, origin, tmp_path / "board", bitstream=files / "engine.bit",
        static=True,
    )  # fmt: skip
    path = hardware.folder / "out.bin"
    command = ["qemu-arm", "./runner", ".", "--json", "--input", "golden/input_0.bin", "--output", str(path)]
    done = subprocess.run(
        command, cwd=board.folder, env=hardware.environment, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    wanted = made.golden(made.manifest.golden[0])[1]
    assert np.array_equal(outputs_of(path.read_bytes(), 1, made.manifest.outputs[0], where="here"), wanted)


def test_it_gives_every_layer_and_a_time_for_every_step(made, hardware):
    path = hardware.folder / "layers.bin"
    done = runner(made, hardware, "--layers", "--input", "golden/input_0.bin", "--output", str(path))
    assert done.returncode == 0, done.stderr
    got, wanted = layers_of(made, path.read_bytes(), where="here"), golden_layers(made)
    assert all(np.array_equal(got[name], wanted[name]) for name in wanted)
    done = runner(made, hardware, "--repeat", "1", "--warmup", "0", "--steps")
    (steps,) = msgspec.json.decode(done.stdout)["steps"]
    assert len(steps) == len(made.manifest.steps) and all(step > 0 for step in steps)


def test_a_time_out_dumps_registers_resets_and_the_next_run_works(made, hardware):
    hardware.stalls = 1
    done = runner(made, hardware, EDGEVISION_WAIT_MS="100")
    assert done.returncode == 7 and "did not end within 100 ms: 0 of" in done.stderr and "it was reset" in done.stderr
    time.sleep(0.05)
    assert hardware.resets == 1
    assert runner(made, hardware).returncode == 0


def test_a_program_or_bitstream_with_another_hash_is_refused_before_the_hardware_is_touched(made, hardware):
    for name, message in ((deployed.WORDS, "expected the bitstream"), (deployed.PROGRAM, "expected the program")):
        path = made.folder / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        done = runner(made, hardware)
        path.write_bytes(content)
        assert done.returncode == 8 and message in done.stderr
    assert hardware.get(OFFSETS["program"]) == 0 and not (hardware.folder / "manager" / "firmware").exists()


@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        ("edgevision-engine 1", "edgevision-engine 2", 2, "expected 1, got '2'"),
        ("arch ", "arch m68k-", 4, "expected a bundle for"),
        ("\nend\n", "\nend\nmore\n", 2, "nothing after end"),
        ("\nmaps ", "\nmaps 123", 5, "contiguous memory"),
        ("\nlanes 16", "\nlanes 64", 2, "leaves the maps"),
        ("real", "unreal", 2, "expected real or raw"),
        ("planes 1 ", "planes 70000 ", 2, "expected planes from 1"),
    ],
)
def test_a_description_that_cannot_be_is_refused(made, hardware, old, new, code, message):
    path = made.folder / deployed.PROGRAM_TEXT
    text = path.read_text()
    path.write_text(text.replace(old, new, 1))
    done = runner(made, hardware)
    path.write_text(text)
    assert done.returncode == code and message in done.stderr, done.stderr


class LocalShell:
    """The board's shell, on this machine in a folder of its own."""

    timeout = 60.0

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.home, self.environment = home, environment

    def run(self, command, step, *, stdin=b""):
        content = stdin if isinstance(stdin, bytes) else stdin.read_bytes()
        return subprocess.run(
            ["sh", "-c", command], cwd=self.home, env=self.environment, input=content, capture_output=True, check=False
        )  # fmt: skip

    def must(self, command, step, *, stdin=b""):
        done = self.run(command, step, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout


def test_a_board_behind_ssh_is_verified_layer_by_layer_and_needs_no_sources(made, hardware, tmp_path):
    need("ssh")
    device, home = SshDevice("board", timeout=60), tmp_path / "home"
    home.mkdir()
    device._shell = LocalShell(home, hardware.environment)
    verified = bundle.verify(made, device)
    assert verified.layers == len(golden_layers(made)) and verified.max_abs_error == 0
    (folder,) = (home / ".cache" / "edgevision").iterdir()
    assert (folder / "driver").is_dir() and not (folder / "hw").exists()


def test_the_python_driver_of_the_bundle_needs_numpy_and_msgspec_alone(made):
    code = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'onnx', 'onnxruntime', 'tvm', 'scipy', 'pynq'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "from edgevision.engine import onboard, programfile\n"
        "print(onboard.__file__)\n"
        "sys.exit(onboard.main(['..', 'images.npy', 'maps.npy']))\n"
    )
    folder = made.folder / "driver"
    environment = {"PYTHONPATH": str(folder), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )  # fmt: skip
    # Everything but the board itself was there: hashes, programs and the bitstream were checked.
    assert Path(done.stdout.strip()).is_relative_to(folder)
    assert done.returncode == 3 and "the driver needs pynq" in done.stderr, done.stderr


def test_memory_that_is_missing_is_said(made, hardware):
    small = hardware.folder / "small"
    small.write_bytes(bytes(4096))
    done = runner(made, hardware, EDGEVISION_MEMORY=f"{small}@{PHYSICAL:#x}")
    assert done.returncode == 5 and "bytes of contiguous memory" in done.stderr
    done = runner(made, hardware, EDGEVISION_MEMORY=f"{small}@0x18000001")
    assert done.returncode in (5, 7)
