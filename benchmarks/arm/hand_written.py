"""Loops as they are written by hand, by family and core: what ours are compared with.

Those of the products are the usual ones: packed operands of both sides, eight rows by twelve channels of `fmla` or
`sdot` by element, four by four of byte products summed along k. The depthwise ones keep a run of output columns in
registers and end in the same store, or requantisation, as ours.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.arm.cores import Core


def body(family: str, core: Core) -> list[str]:
    """The hand-written loop."""
    narrow = core.triple.startswith("armv7")
    name = f"{family} {core.int8}" if family == "int8 gemm" else family
    return _BODIES[name, narrow]()


def _by_element(instruction: str, lane: str) -> list[str]:
    code = []
    for _ in range(4):
        code += ["ldr q0, [x1]", "ldr q1, [x1, #16]", "ldr q2, [x1, #32]", "ldr q3, [x0]", "ldr q4, [x0, #16]"]
        for i in range(8):
            for j in range(3):
                code.append(f"{instruction} v{8 + i * 3 + j}.4s, v{j}.{lane[0]}, v{3 + i // 4}.{lane[1]}[{i % 4}]")
    return code


def _loads(rows: int) -> list[str]:
    return [f"ldr q{i}, [x{1 if i < 4 else 0}, #{i % 4 * 16}]" for i in range(4 + rows)]


def _pairs() -> list[str]:
    code = _loads(4)
    tiles = [(i, j) for i in range(4) for j in range(4)]
    for start in range(0, 16, 8):
        block = list(enumerate(tiles[start : start + 8]))
        code += [f"smull v{8 + t}.8h, v{4 + i}.8b, v{j}.8b" for t, (i, j) in block]
        code += [f"smlal2 v{8 + t}.8h, v{4 + i}.16b, v{j}.16b" for t, (i, j) in block]
        code += [f"sadalp v{16 + i * 4 + j}.4s, v{8 + t}.8h" for t, (i, j) in block]
    return code


def _matrix() -> list[str]:
    code = []
    for _ in range(2):
        code += _loads(4)
        code += [f"usmmla v{16 + i * 4 + j}.4s, v{4 + i}.16b, v{j}.16b" for i in range(4) for j in range(4)]
    return code


def _armv7_float() -> list[str]:
    code = []
    for _ in range(2):
        code += ["vld1.32 {d0-d3}, [r1]!", "vld1.32 {d4-d5}, [r0]!"]
        code += [f"vmla.f32 q{8 + i * 2 + j}, q{j}, d{4 + i // 2}[{i % 2}]" for i in range(4) for j in range(2)]
    return code


def _armv7_pairs() -> list[str]:
    code = ["vld1.8 {d0-d3}, [r1]!", "vld1.8 {d4-d7}, [r1]!", "vld1.8 {d8-d9}, [r0]!", "vld1.8 {d10-d11}, [r2]!"]
    for i in range(2):
        for j in range(4):
            t = 6 + (i * 4 + j) % 2
            code += [
                f"vmull.s8 q{t}, d{8 + 2 * i}, d{2 * j}",
                f"vmlal.s8 q{t}, d{9 + 2 * i}, d{2 * j + 1}",
                f"vpadal.s16 q{8 + i * 4 + j}, q{t}",
            ]
    return code


def _depthwise_float() -> list[str]:
    code = []
    for row in range(3):
        code += [f"ldr q{k}, [x1, #{16 * (row * 3 + k)}]" for k in range(3)]
        code += [f"ldr q{3 + p}, [x{2 + row}, #{16 * p}]" for p in range(10)]
        code += [f"fmla v{16 + i}.4s, v{3 + i + k}.4s, v{k}.4s" for k in range(3) for i in range(8)]
    return [*code, *(f"str q{16 + i}, [x0, #{16 * i}]" for i in range(8))]


def _depthwise_bytes() -> list[str]:
    code = []
    for row in range(3):
        for k in range(3):
            code += [f"ldr d{k}, [x1, #{8 * (row * 3 + k)}]", f"sshll v{k}.8h, v{k}.8b, #0"]
        code += [f"ldr d{3 + p}, [x{2 + row}, #{8 * p}]" for p in range(6)]
        code += [f"ushll v{3 + p}.8h, v{3 + p}.8b, #0" for p in range(6)]
        for k in range(3):
            code += [f"smlal v{16 + 2 * i}.4s, v{3 + i + k}.4h, v{k}.4h" for i in range(4)]
            code += [f"smlal2 v{17 + 2 * i}.4s, v{3 + i + k}.8h, v{k}.8h" for i in range(4)]
    for step in ("scvtf v{0}.4s, v{0}.4s", "fmul v{0}.4s, v{0}.4s, v30.4s", "fcvtns v{0}.4s, v{0}.4s"):
        code += [step.format(16 + i) for i in range(8)]
    code += [f"sqxtn v{i}.4h, v{16 + 2 * i}.4s" for i in range(4)]
    code += [f"sqxtn2 v{i}.8h, v{17 + 2 * i}.4s" for i in range(4)]
    code += [f"sqadd v{i}.8h, v{i}.8h, v31.8h" for i in range(4)]
    code += [f"sqxtun{'2' if i % 2 else ''} v{8 + i // 2}.{'16b' if i % 2 else '8b'}, v{i}.8h" for i in range(4)]
    code += [
        f"{step} v{8 + i}.16b, v{8 + i}.16b, v{28 + j}.16b" for j, step in enumerate(("umin", "umax")) for i in (0, 1)
    ]
    return [*code, "str q8, [x0]", "str q9, [x0, #16]"]


def _armv7_depthwise_float() -> list[str]:
    code = []
    for row in range(3):
        code += [f"vld1.32 {{d{2 * k}-d{2 * k + 1}}}, [r1]!" for k in range(3)]
        code += [f"vld1.32 {{d{6 + 2 * p}-d{7 + 2 * p}}}, [r{2 + row}]!" for p in range(6)]
        code += [f"vmla.f32 q{9 + i}, q{3 + i + k}, q{k}" for k in range(3) for i in range(4)]
    return [*code, *(f"vst1.32 {{d{18 + 2 * i}-d{19 + 2 * i}}}, [r0]!" for i in range(4))]


def _armv7_depthwise_bytes() -> list[str]:
    code = []
    for row in range(3):
        for k in range(3):
            code += [f"vld1.8 {{d{2 * k}}}, [r1]!", f"vmovl.s8 q{k}, d{2 * k}"]
        for p in range(4):
            code += [f"vld1.8 {{d{6 + 2 * p}}}, [r{2 + row}]!", f"vmovl.u8 q{3 + p}, d{6 + 2 * p}"]
        for k in range(3):
            for i in range(2):
                for half in (0, 1):
                    left, weights = 2 * (3 + i + k) + half, 2 * k + half
                    code.append(f"vmlal.s16 q{8 + 2 * i + half}, d{left}, d{weights}")
    steps = (
        "vcvt.f32.s32 q{0}, q{0}", "vmul.f32 q{0}, q{0}, q0", "vmin.f32 q{0}, q{0}, q1", "vmax.f32 q{0}, q{0}, q2",
        "vadd.f32 q{0}, q{0}, q3", "vadd.i32 q{0}, q{0}, q4",
    )  # fmt: skip
    code += [step.format(8 + i) for step in steps for i in range(4)]
    code += [f"vmovn.i32 d{10 + i}, q{8 + i}" for i in range(4)]
    code += ["vmovn.i16 d14, q5", "vmovn.i16 d15, q6"]
    return [*code, "vst1.8 {d14}, [r0]!", "vst1.8 {d15}, [r0]!"]


_BODIES: dict[tuple[str, bool], Callable[[], list[str]]] = {
    ("fp32 gemm", False): lambda: _by_element("fmla", ("4s", "s")),
    ("int8 gemm pairs", False): _pairs,
    ("int8 gemm sdot", False): lambda: _by_element("sdot", ("16b", "4b")),
    ("int8 gemm usmmla", False): _matrix,
    ("fp32 depthwise 3x3", False): _depthwise_float,
    ("int8 depthwise 3x3", False): _depthwise_bytes,
    ("fp32 gemm", True): _armv7_float,
    ("int8 gemm pairs", True): _armv7_pairs,
    ("fp32 depthwise 3x3", True): _armv7_depthwise_float,
    ("int8 depthwise 3x3", True): _armv7_depthwise_bytes,
}
