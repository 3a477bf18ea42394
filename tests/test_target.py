from pathlib import Path

import pytest

from edgevision import machine, target
from edgevision.errors import Unsupported, UsageError

FIGURES = ("cores", "clock_mhz", "l1d_kib", "l2_kib", "l3_kib")


@pytest.mark.parametrize("name", target.names())
def test_every_figure_of_a_shipped_target_has_a_source(name: str) -> None:
    one = target.load(name)
    if name == "host":
        return
    given = [figure for figure in FIGURES if getattr(one.cpu, figure) is not None]
    given += [figure for figure in ("ram_mib", "bandwidth_gb_s") if getattr(one.memory, figure) is not None]
    assert set(given) <= set(one.sources)
    assert "simd" in one.sources


@pytest.mark.parametrize("name", target.names())
def test_the_runner_can_check_every_feature_a_target_requires(name: str) -> None:
    one = target.load(name)
    assert set(one.cpu.requires) <= set(machine.CHECKED[one.arch])
    assert set(one.cpu.requires) or name == "host"


def test_the_boards_of_the_readme_are_there() -> None:
    assert {"host", "rpi3", "rpi4", "rpi5", "android-arm64", "zynq7020-ps"} <= set(target.names())


def test_an_unknown_target_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'rpi4'"):
        target.load("rpi04")


def test_a_three_part_triple_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (target.shipped("targets") / "zynq7020-ps.toml").read_text()
    (tmp_path / "zynq7020-ps.toml").write_text(text.replace("armv7a-unknown-linux", "armv7a-linux"))
    monkeypatch.setattr(target, "shipped", lambda room: tmp_path)
    with pytest.raises(UsageError, match="four-part"):
        target.load("zynq7020-ps")


def test_this_machine_is_resolved_and_a_board_is_left_alone() -> None:
    host = machine.resolve(target.load("host"))
    assert host.cpu.llvm not in ("native", "")
    assert host.cpu.cores >= 1
    assert host.triple.count("-") == 3
    assert machine.resolve(target.load("rpi4")) == target.load("rpi4")


@pytest.mark.parametrize(
    ("flags", "bits", "registers", "dot"),
    [
        ("sse2", 128, 16, "none"),
        ("avx avx2 fma", 256, 16, "avx2"),
        ("avx2 fma avx512f avx512bw avx512vl avx512dq", 512, 32, "avx2"),
        ("avx2 fma avx512f avx512bw avx512vl avx512dq avx512_vnni", 512, 32, "vnni"),
        ("avx2 fma avx512f", 256, 16, "avx2"),
    ],
)
def test_x86_is_described_by_its_flags(flags: str, bits: int, registers: int, dot: str) -> None:
    cpu = machine.describe_cpu("x86_64", f"processor : 0\nflags\t\t: {flags}\n", llvm="x")
    assert (cpu.simd_bits, cpu.simd_registers, cpu.dot) == (bits, registers, dot)
    assert set(cpu.requires) == set(flags.split()) & set(machine.CHECKED["x86_64"])


@pytest.mark.parametrize(
    ("features", "dot"), [("fp asimd", "none"), ("asimd asimddp", "sdot"), ("asimd asimddp i8mm", "i8mm")]
)
def test_arm_is_described_by_its_features(features: str, dot: str) -> None:
    cpu = machine.describe_cpu("aarch64", f"Features\t: {features}\n", llvm="x")
    assert (cpu.dot, cpu.simd_registers) == (dot, 32)
    assert ("+dotprod" in cpu.features) is (dot != "none")


def test_an_unknown_machine_is_refused() -> None:
    with pytest.raises(Unsupported, match="riscv64"):
        machine.machine_arch("riscv64")
