"""Most a core's model can do in a family: its multiplications alone, in registers, none waiting for another."""

from __future__ import annotations

from benchmarks.arm.cores import Core


def body(family: str, core: Core) -> list[str]:
    """Independent multiplications of the family."""
    if core.triple.startswith("armv7"):
        if family.startswith("fp32"):
            return [f"vmla.f32 q{4 + i}, q0, q1" for i in range(12)]
        if family == "int8 gemm":
            return _armv7_pairs()
        return [f"vmlal.s16 q{4 + i}, d0, d1" for i in range(12)]
    if family.startswith("fp32"):
        return [f"fmla v{4 + i}.4s, v0.4s, v1.4s" for i in range(24)]
    if family == "int8 depthwise 3x3":
        return [f"smlal v{4 + i}.4s, v0.4h, v1.4h" for i in range(24)]
    if core.int8 == "pairs":
        temporaries = [f"v{4 + i}" for i in range(12)]
        code = [f"smull {t}.8h, v0.8b, v1.8b" for t in temporaries]
        code += [f"smlal2 {t}.8h, v0.16b, v1.16b" for t in temporaries]
        return code + [f"sadalp v{16 + i}.4s, {t}.8h" for i, t in enumerate(temporaries)]
    instruction = {"sdot": "sdot", "usmmla": "usmmla"}[core.int8]
    return [f"{instruction} v{4 + i}.4s, v0.16b, v1.16b" for i in range(24)]


def _armv7_pairs() -> list[str]:
    code = [f"vmull.s8 q{4 + i}, d0, d1" for i in range(6)]
    code += [f"vmlal.s8 q{4 + i}, d2, d3" for i in range(6)]
    return code + [f"vpadal.s16 q{10 + i}, q{4 + i}" for i in range(6)]
