"""What a kernel is made from, before it is made; the cache knows it by this, so only a missing kernel is generated."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

from edgevision.compiler.simd import Simd

#: Longest value an error shows.
_WORD = 120


@dataclasses.dataclass(frozen=True)
class KernelSource:
    """A kernel that can be generated: the function that makes it and everything that function reads.

    Attributes:
        family: kernel family, as in the plan.
        make: function of (name, spec, simd) that returns the TIR function.
        spec: frozen dataclass of plain values.
    """

    family: str
    make: Callable[[str, Any, Simd], Any]
    spec: Any
    simd: Simd

    def function(self) -> Any:
        """Generate the kernel as a TIR function called `name`."""
        return self.make(self.name, self.spec, self.simd)

    @property
    def identity(self) -> str:
        """Text that two sources share only when they make the same kernel.

        Raises:
            TypeError: the specification holds something that is no plain value.
        """
        maker = f"{self.make.__module__}.{self.make.__qualname__}"
        return f"{self.family} {maker} {plain_text(self.spec)} {plain_text(self.simd)}"

    @property
    def name(self) -> str:
        """Name of the function; it follows from the identity, so objects compiled apart can be linked together."""
        return f"{self.family}_{hashlib.sha256(self.identity.encode()).hexdigest()[:16]}"

    @property
    def operations(self) -> str:
        """Names of the operations fused into the kernel, in order; empty where there are none."""
        chain = getattr(self.spec, "chain", None)
        if chain is None:
            return str(getattr(self.spec, "operators", ""))
        last = [] if chain.store.gelu is None else ["gelu"]
        last += [] if chain.store.zero_points is None else ["zero points"]
        return "+".join([*(operation.name for operation in chain.operations), *last])

    def described(self) -> str:
        """Family and sizes, for an error."""
        fields = dataclasses.fields(self.spec)
        values = [(field.name, getattr(self.spec, field.name)) for field in fields]
        words = [f"{name}={value}" for name, value in values if isinstance(value, int | str | tuple)]
        return f"{self.family} kernel ({', '.join(word for word in words if len(word) < _WORD)})"


def plain_text(value: Any) -> str:
    """A value written out in full: equal text means equal value and type, in every process.

    >>> plain_text(Simd(4, 32)), plain_text((1, True, 0.5))
    ("Simd(lanes=4,registers=32,dot='none',...)", '(1,True,0.5)')

    Raises:
        TypeError: it is no dataclass, tuple, string, number or None all through.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f"{f.name}={plain_text(getattr(value, f.name))}" for f in dataclasses.fields(value)]
        return f"{type(value).__name__}({','.join(fields)})"
    if isinstance(value, tuple):
        return f"({','.join(plain_text(item) for item in value)})"
    if value is None or type(value) in (str, int, float, bool):
        return repr(value)
    raise TypeError(f"expected a plain value in a kernel's specification, got {type(value).__name__}: {value!r:.80}")
