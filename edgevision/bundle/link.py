"""Linking: kernels library, runner, one static file, and the shared library Python drives.

Everything is compiled in a scratch folder under relative names and stripped, so the same sources and compiler give the
same bytes. Results that do not depend on a network are kept in a per-user cache, keyed by what they were made from.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from edgevision.bundle.objects import HOOKS, ObjectSymbols, symbol_of
from edgevision.bundle.toolchain import Compiler, need_compiler
from edgevision.cache import cache_folder
from edgevision.compiler.program import Program
from edgevision.files import explained, write_atomic
from edgevision.target import Target

RUNNER = Path(__file__).resolve().parent / "runner"

_FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror")
_LINK = ("-s", "-Wl,--build-id=none")
#: Every object file brings the same few helpers; those of the first are kept.
_ONCE = ("-Wl,--gc-sections",)
_LIBRARIES = ("-lpthread", "-lm")
_WALK = ("clock.c", "cpu.c", "error.c", "hooks.c", "plan.c", "pool.c", "runner.c", "sha256.c", "storage.c")
_COMMAND = ("main.c", "options.c", "report.c")
#: The runner of a bundle for the engine: no kernels, a driver.
_ENGINE = (
    "clock.c", "engine_border.c", "engine_hardware.c", "engine_main.c", "engine_plan.c", "error.c", "options.c",
    "report.c", "sha256.c", "storage.c",
)  # fmt: skip


def kernels_id(program: Program) -> str:
    """Identity of the kernels, written into the plan and into what is linked: sha256 of the object files."""
    digest = hashlib.sha256()
    for content in program.objects:
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def link_kernels(program: Program, compiler: Compiler) -> bytes:
    """Return kernels.so: the program's kernels, self-contained but for libc and libm."""

    def build(folder: Path) -> None:
        objects = _kernels(program, folder)
        (folder / "identity.c").write_text(_identity(program))
        sources = ("identity.c", _copied("kernel_side.c", folder), *objects)
        compiler.run([*_FLAGS, "-fPIC", "-shared", *_LINK, *_ONCE, *sources, "-lm", "-o", "result"], cwd=folder)

    return _scratch(build)


def link_static(program: Program, symbols: ObjectSymbols, compiler: Compiler) -> bytes:
    """Return one static file: runner and kernels, no dynamic loader needed."""

    def build(folder: Path) -> None:
        kernels = _kernels(program, folder)
        (folder / "identity.c").write_text(_identity(program))
        (folder / "table.c").write_text(_table(program, symbols))
        sources = [_copied(name, folder) for name in (*_WALK, *_COMMAND, "kernels_static.c", "kernel_side.c")]
        objects = ["identity.c", "table.c", *kernels]
        compiler.run([*_FLAGS, *_LINK, *_ONCE, *sources, *objects, *_LIBRARIES, "-o", "result"], cwd=folder)

    return _scratch(build)


def link_runner(compiler: Compiler) -> bytes:
    """Return the runner executable that loads kernels.so."""
    arguments = [*_FLAGS, *_LINK, *_WALK, *_COMMAND, "kernels_dynamic.c", *_LIBRARIES, "-ldl"]
    return _cached("runner", arguments, compiler).read_bytes()


def link_engine_runner(compiler: Compiler) -> bytes:
    """Return the runner executable that drives the engine of an FPGA."""
    return _cached("engine_runner", [*_FLAGS, *_LINK, *_ENGINE, "-lm"], compiler).read_bytes()


def walk_library(target: Target) -> Path:
    """Return the walk as a shared library for the machine of `target`: what ctypes and a TVM RPC server load."""
    arguments = [*_FLAGS, "-fPIC", "-shared", *_LINK, *_WALK, "kernels_dynamic.c", "rpc_side.c", *_LIBRARIES, "-ldl"]
    return _cached("libevwalk.so", arguments, need_compiler(target))


def _cached(name: str, arguments: list[str], compiler: Compiler) -> Path:
    """Build from the runner's sources unless the cache has it; two processes at once both end with a whole file."""
    digest = hashlib.sha256(repr((arguments, compiler.command, compiler.version)).encode())
    for source in sorted(RUNNER.glob("*.[ch]")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    path = cache_folder() / digest.hexdigest()[:24] / name
    if not path.is_file():

        def build(folder: Path) -> None:
            for source in RUNNER.glob("*.[ch]"):
                _copied(source.name, folder)
            compiler.run([*arguments, "-o", "result"], cwd=folder)

        write_atomic(path, _scratch(build))
    return path


def _scratch(build: Callable[[Path], None]) -> bytes:
    with explained(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory(prefix="edgevision-") as name:
        build(Path(name))
        return (Path(name) / "result").read_bytes()


def _kernels(program: Program, folder: Path) -> list[str]:
    names = [f"kernel_{index}.o" for index in range(len(program.objects))]
    for name, content in zip(names, program.objects, strict=True):
        (folder / name).write_bytes(content)
    return names


def _copied(name: str, folder: Path) -> str:
    for source in (RUNNER / name, *RUNNER.glob("*.h")):
        (folder / source.name).write_bytes(source.read_bytes())
    return name


def _identity(program: Program) -> str:
    return f'extern const char ev_kernels_id[];\nconst char ev_kernels_id[] = "{kernels_id(program)}";\n'


def _table(program: Program, symbols: ObjectSymbols) -> str:
    """C source of the symbol table that takes the place of dlsym in a static file."""
    functions = [symbol_of(kernel) for kernel in program.kernels()]
    hooks = sorted(symbols.hooks & HOOKS)
    lines = ['#include "kernels.h"']
    lines += [f"extern int {name}(void);" for name in functions]
    lines += [f"extern void *{name};" for name in hooks]
    lines += ["extern const char *ev_kernel_error(void);", "extern const char ev_kernels_id[];"]
    lines += ["const struct ev_symbol ev_symbols[] = {"]
    lines += [f'    {{"{name}", (void *){name}}},' for name in (*functions, "ev_kernel_error", "ev_kernels_id")]
    lines += [f'    {{"{name}", (void *)&{name}}},' for name in hooks]
    return "\n".join([*lines, "    {0, 0},", "};", ""])
