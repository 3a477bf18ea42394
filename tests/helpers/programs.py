"""Small programs to bundle and run: a parallel gemm, an add and a requantisation, compiled by TVM for any target."""

import functools
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import tvm
from tvm.script import tirx as T

from edgevision import bundle, machine
from edgevision import target as targets
from edgevision.bundle import Origin
from edgevision.compiler.program import PlanStep, Program, Tensor
from edgevision.data.preprocess import Preprocessing
from edgevision.target import Target


@T.prim_func(s_tir=True)
def _gemm(A: T.Buffer((4, 8), "float32"), B: T.Buffer((8, 16), "float32"), C: T.Buffer((4, 16), "float32")):
    T.func_attr({"global_symbol": "gemm", "tirx.noalias": True})
    for i in T.parallel(4):
        for j in T.serial(16):
            with T.sblock("init"):
                vi, vj = T.axis.remap("SS", [i, j])
                C[vi, vj] = T.float32(0)
        for j in T.serial(16):
            for k in T.serial(8):
                with T.sblock("sum"):
                    vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                    C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]


@T.prim_func(s_tir=True)
def _add(A: T.Buffer((4, 16), "float32"), B: T.Buffer((16,), "float32"), C: T.Buffer((4, 16), "float32")):
    T.func_attr({"global_symbol": "add", "tirx.noalias": True})
    for i, j in T.grid(4, 16):
        with T.sblock("add"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = A[vi, vj] + B[vj]


@T.prim_func(s_tir=True)
def _requantize(A: T.Buffer((4, 16), "float32"), C: T.Buffer((4, 16), "int8")):
    T.func_attr({"global_symbol": "requantize", "tirx.noalias": True})
    for i, j in T.grid(4, 16):
        with T.sblock("clip"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = T.Cast("int8", T.max(T.min(T.round(A[vi, vj] * T.float32(4)), T.float32(127)), T.float32(-128)))


@functools.cache
def host() -> Target:
    return machine.resolve(targets.load("host"))


def tvm_target(target: Target) -> tvm.target.Target:
    options = {"kind": "llvm", "mtriple": target.triple, "mcpu": target.cpu.llvm, "mattr": list(target.cpu.features)}
    if target.float_abi:
        options["mfloat-abi"] = target.float_abi
    return tvm.target.Target({key: value for key, value in options.items() if value})


@functools.cache
def _objects(target: bytes) -> tuple[bytes, ...]:
    module = tvm.IRModule({"gemm": _gemm, "add": _add, "requantize": _requantize})
    built = tvm.tirx.build(module, tvm_target(msgspec.json.decode(target, type=Target)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernels.o")
        built.write_to_file(str(path), "o")
        return (path.read_bytes(),)


def weights() -> tuple[np.ndarray, np.ndarray]:
    """Multiples of 1/8, so that every sum below is exact in float32 whatever the order."""
    values = np.random.default_rng(0)
    return (
        values.integers(-8, 8, (8, 16)).astype(np.float32) / 8,
        values.integers(-8, 8, (16,)).astype(np.float32) / 8,
    )


def images(count: int = 1, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(-8, 8, (4 * count, 8)).astype(np.float32) / 8


def reference(given: np.ndarray, *, integer: bool) -> np.ndarray:
    matrix, bias = weights()
    result = given @ matrix + bias
    return np.clip(np.rint(result * 4), -128, 127).astype(np.int8) if integer else result


def program(target: Target | None = None, *, integer: bool = False) -> Program:
    """x (4, 8) @ W + b, and with `integer` requantised to int8."""
    target = target or host()
    matrix, bias = weights()
    constants = matrix.tobytes() + bias.tobytes()
    middle = Tensor("arena", 256, (4, 16), "float32")
    tensors = (
        Tensor("input", 0, (4, 8), "float32"),
        Tensor("constant", 0, (8, 16), "float32"),
        Tensor("constant", 512, (16,), "float32"),
        Tensor("arena", 0, (4, 16), "float32"),
        middle if integer else Tensor("output", 0, (4, 16), "float32"),
        *((Tensor("output", 0, (4, 16), "int8"),) if integer else ()),
    )
    steps = (
        PlanStep("gemm", (0, 1, 3), "first / matmul", "gemm", macs=512),
        PlanStep("add", (3, 2, 4), "first / bias", "elementwise"),
        *((PlanStep("requantize", (4, 5), "last", "elementwise", integer=True),) if integer else ()),
    )
    return Program(
        target=target,
        objects=_objects(msgspec.json.encode(target)),
        tensors=tensors,
        steps=steps,
        arena_bytes=512,
        live_bytes=512 if integer else 256,
        constants=constants,
        inputs=(0,),
        outputs=(len(tensors) - 1,),
    )


def origin() -> Origin:
    return Origin(
        model="tiny", recipe="fp32", seed=0, input_name="x", preprocessing=Preprocessing(height=4, width=8, channels=1)
    )


def golden(*, integer: bool = False, count: int = 2) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(x, reference(x, integer=integer)) for x in (images(seed=seed) for seed in range(count))]


def bundled(out: Path, target: Target | None = None, *, integer: bool = False, static: bool = False) -> Path:
    """Write the program as a bundle to `out`, two golden vectors included."""
    bundle.write(
        program(target, integer=integer), origin(), out, golden=golden(integer=integer), static=static, tolerance=0.0
    )
    return out
