"""What is inside the object files a program carries: its architecture, its kernels, and what they want from outside."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from edgevision.compiler.program import Program
from edgevision.errors import Unsupported

#: The pointer variables the runner fills (bundle/runner/hooks.c).
HOOKS = frozenset(
    f"__TVMBackend{name}" for name in ("AllocWorkspace", "FreeWorkspace", "ParallelLaunch", "ParallelBarrier")
)
#: The one function of TVM's runtime that is linked in with the kernels (bundle/runner/kernel_side.c).
LINKED = "TVMFFIErrorSetRaisedFromCStrParts"
_MACHINES = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64", "armv7": "EM_ARM"}


@dataclass(frozen=True)
class ObjectSymbols:
    """Global symbols of object files; `undefined` are those none of them defines."""

    machine: str
    defined: frozenset[str]
    undefined: frozenset[str]

    @property
    def hooks(self) -> frozenset[str]:
        """Pointer variables the kernels expect to be filled."""
        return frozenset(name for name in self.defined if name.startswith("__TVM"))


def read_symbols(objects: Sequence[bytes]) -> ObjectSymbols:
    """Read the symbol tables of ELF objects that are linked together.

    Raises:
        Unsupported: some are not ELF object files, or not for the same machine.
    """
    machines: set[str] = set()
    defined: set[str] = set()
    undefined: set[str] = set()
    try:
        for content in objects:
            file = ELFFile(io.BytesIO(content))
            machines.add(file["e_machine"])
            for section in file.iter_sections():
                if not isinstance(section, SymbolTableSection):
                    continue
                for symbol in section.iter_symbols():
                    if symbol.name and symbol["st_info"]["bind"] != "STB_LOCAL":
                        (undefined if symbol["st_shndx"] == "SHN_UNDEF" else defined).add(symbol.name)
    except (ELFError, KeyError, ValueError, OverflowError) as error:
        raise Unsupported(f"the kernels are not an ELF object file: {error}", where="program.objects") from error
    if len(machines) != 1:
        raise Unsupported(f"expected objects for one machine, got {sorted(machines)}", where="program.objects")
    return ObjectSymbols(machines.pop(), frozenset(defined), frozenset(undefined - defined))


def symbol_of(kernel: str) -> str:
    """Return the symbol under which TVM exports a kernel.

    >>> symbol_of("gemm_0")
    '__tvm_ffi_gemm_0'
    """
    return f"__tvm_ffi_{kernel}"


def check_objects(program: Program) -> ObjectSymbols:
    """Return the symbols of the program's kernels once it is sure that the runner can run them.

    Raises:
        Unsupported: wrong architecture, a kernel of the plan is missing, or one needs a TVM runtime; all reasons.
    """
    symbols = read_symbols(program.objects)
    reasons = []
    if symbols.machine != _MACHINES[program.target.arch]:
        reasons.append(f"expected objects for {program.target.arch}, got {symbols.machine}")
    reasons += [
        f"kernel '{k}' is not in the object files" for k in program.kernels() if symbol_of(k) not in symbols.defined
    ]
    reasons += [f"the kernels want {hook}, which only a TVM runtime fills" for hook in sorted(symbols.hooks - HOOKS)]
    wanted = sorted(n for n in symbols.undefined if n.startswith("TVM") and n != LINKED)
    reasons += [f"the kernels call {name}, which only a TVM runtime has" for name in wanted]
    if reasons:
        raise Unsupported("the kernels cannot run without a TVM runtime", where="program.objects", reasons=reasons)
    return symbols
