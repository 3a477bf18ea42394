"""Compiling kernels: the cache is only a cache, and a kernel that brings the compiler down is named, not fatal."""

import ast
import ctypes
import os
import time
from dataclasses import dataclass, replace

import pytest
from tvm.script.ir_builder import tirx as T

from edgevision import compiler, target
from edgevision.compiler import objects
from edgevision.compiler.kernels import emit, layout
from edgevision.compiler.objects import compile_kernels
from edgevision.compiler.simd import Simd, simd_of, tvm_target
from edgevision.compiler.source import KernelSource
from edgevision.errors import Unsupported
from edgevision.machine import resolve

HOST = resolve(target.load("host"))
SIMD = simd_of(HOST)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEVISION_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@dataclass(frozen=True)
class Shape:
    elements: int


def copy(name, spec, simd):
    shapes = [("x", spec.elements, "float32"), ("y", spec.elements, "float32")]
    with emit.kernel(name, shapes) as (buffers, made), T.serial(spec.elements) as index:
        emit.store(buffers[1], index, emit.load(buffers[0], index, 1), 1)
    return made[0]


def aborts(name, spec, simd):
    """An aarch64 instruction, which LLVM for 32-bit ARM ends the process over."""
    with emit.kernel(name, [("x", spec.elements, "int32"), ("y", spec.elements, "int32")]) as (buffers, made):
        x = emit.load(buffers[0], 0, 4)
        intrinsic = T.llvm_lookup_intrinsic_id("llvm.aarch64.neon.addp.v4i32")
        emit.store(buffers[1], 0, T.call_llvm_pure_intrin("int32x4", intrinsic, x, x), 4)
    return made[0]


def crashes(name, spec, simd):
    ctypes.string_at(0)


def hangs(name, spec, simd):
    time.sleep(600)


def raises(name, spec, simd):
    raise ValueError("no such tile")


def sources(*makers):
    made = [KernelSource(make.__name__, make, Shape(64), SIMD) for make in makers]
    return {source.name: source for source in made}


def layouts(count):
    specs = [layout.Layout(True, 1, 8 + i, 4, "float32", 4, 0, 4 * (8 + i)) for i in range(count)]
    made = [KernelSource("layout", layout.build, spec, SIMD) for spec in specs]
    return {source.name: source for source in made}


def test_a_second_build_generates_nothing_and_gives_the_same_bytes(monkeypatch):
    kernels, described = layouts(3), tvm_target(HOST)
    first = compile_kernels(kernels, described)
    monkeypatch.setattr(objects, "_compiled", lambda *_: pytest.fail("a cached kernel was compiled"))
    assert compile_kernels(kernels, described) == first
    assert len({*first}) == 3


def test_bytes_do_not_depend_on_the_company_or_the_process(monkeypatch):
    kernels, described = layouts(9), tvm_target(HOST)
    together = dict(zip(sorted(kernels), compile_kernels(kernels, described), strict=True))
    for name in list(kernels)[::4]:
        assert objects._compiled(kernels[name], described) == together[name]


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:100] + b"\1" + b[101:], lambda b: b""])
def test_damaged_entries_are_built_again(cache, damage):
    kernels, described = layouts(1), tvm_target(HOST)
    first = compile_kernels(kernels, described)
    (entry,) = [path for path in cache.rglob("*") if path.is_file()]
    entry.write_bytes(damage(entry.read_bytes()))
    assert compile_kernels(kernels, described) == first
    assert entry.read_bytes()[32:] == first[0]


def test_another_core_target_or_generator_is_another_entry(tmp_path, monkeypatch):
    (source,) = layouts(1).values()
    described = tvm_target(HOST)
    known = {objects.cache_key(source, described)}
    known.add(objects.cache_key(replace(source, simd=Simd(4, 32)), described))
    known.add(objects.cache_key(source, tvm_target(target.load("rpi4"))))
    changed = tmp_path / "generator.py"
    changed.write_text("# another")
    monkeypatch.setattr(objects, "_GENERATORS", (*objects._GENERATORS[:-1], changed))
    known.add(objects.cache_key(source, described))
    assert len(known) == 4


#: Imported by what is hashed, but nothing a kernel is made of.
OUTSIDE = ("cache.py", "children.py", "errors.py", "progress.py", "target.py")


def test_every_module_the_generators_import_is_part_of_the_key():
    hashed = {path.resolve() for path in objects._GENERATORS}
    package = objects._COMPILER.parent
    for path in (path for path in objects._GENERATORS if path.parent.name != "graph"):
        for found in ast.walk(ast.parse(path.read_text())):
            if not isinstance(found, ast.ImportFrom) or not (found.module or "").startswith("edgevision."):
                continue
            module = package.joinpath(*found.module.split(".")[1:])
            files = [module / f"{alias.name}.py" for alias in found.names] if module.is_dir() else []
            for file in [f for f in files if f.is_file()] or [module.with_suffix(".py")]:
                assert file.resolve() in hashed or file.name in OUTSIDE, f"{path.name} imports {file}"


def test_a_read_only_cache_costs_only_time(cache):
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("a file where the folder should be")
    kernels, described = layouts(1), tvm_target(HOST)
    assert compile_kernels(kernels, described) == compile_kernels(kernels, described)


def test_kernels_that_abort_crash_or_raise_are_named_together_and_the_others_are_kept(cache):
    board = target.load("zynq7020-ps")
    kernels = sources(copy, aborts, crashes, raises)
    layers = {name: ["stages.0.mlp.fc1 + gelu"] for name in kernels}
    with pytest.raises(Unsupported) as caught:
        compile_kernels(kernels, tvm_target(board), layers=layers)
    aborted, crashed, raised = sorted(caught.value.reasons)
    assert aborted.startswith("aborts kernel (elements=64) of 'stages.0.mlp.fc1 + gelu': died of SIGABRT: LLVM ERROR")
    assert "died of SIGSEGV" in crashed
    assert raised.endswith("ValueError: no such tile")
    assert "armv7" in caught.value.where and "cortex-a9" in caught.value.where
    assert len([path for path in cache.rglob("*") if path.is_file()]) == 1


def test_a_kernel_that_hangs_is_stopped_and_named():
    begun = time.monotonic()
    with pytest.raises(Unsupported, match="1 kernel") as caught:
        compile_kernels(sources(copy, hangs), tvm_target(HOST), seconds=1.5)
    assert time.monotonic() - begun < 30
    assert "hangs kernel (elements=64)" in caught.value.reasons[0]
    assert "longer than 1.5 s" in caught.value.reasons[0]
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_network_with_a_broken_kernel_names_the_layers(small_fp32, monkeypatch):
    monkeypatch.setattr("edgevision.compiler.kernels.depthwise.build", raises)
    with pytest.raises(Unsupported) as caught:
        compiler.compile_graph(small_fp32, HOST)
    (reason,) = caught.value.reasons
    assert "depthwise kernel (" in reason and "channels=8" in reason and "depthwise" in reason.split(" of ")[1]
