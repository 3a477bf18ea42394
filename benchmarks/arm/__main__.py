"""`python -m benchmarks.arm --out build/bench/arm.json`: see benchmarks/README.md."""

from __future__ import annotations

from typing import Any

from benchmarks import common
from benchmarks.arm import generated, hand_written, mca, peaks
from benchmarks.arm.cores import CORES, FAMILIES, Core
from benchmarks.arm.loops import inner_loop, macs


def main() -> None:
    """Model every family on every core, print the table and write the JSON."""
    asked = common.flags("Inner loops of the Arm kernels in llvm-mca's models of the cores.").parse_args()
    mca.tool()
    rows = []
    for core in CORES:
        for family in FAMILIES:
            rows.append(row(family, core))
            common.progress("model", 1, 1, f"{core.name}, {family}")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    show(rows)
    result = {"kind": "modelled", "llvm_mca": mca.version(), "unit": "GOP/s per GHz", "rows": rows}
    common.write(asked.out, "edgevision.bench.arm/1", result)


def row(family: str, core: Core) -> dict[str, Any]:
    """One line of the table: operations a cycle of our loop, of the hand-written one, and of the model at its peak."""
    ours = inner_loop(generated.assembly(family, core))
    rates = {
        name: round(2 * macs(body) / mca.cycles(body, core), 2)
        for name, body in (
            ("ours", ours),
            ("hand_written", hand_written.body(family, core)),
            ("peak", peaks.body(family, core)),
        )
    }
    share = round(rates["ours"] / rates["hand_written"], 3)
    return {"core": core.name, "family": family, **rates, "share": share, "remark": core.remark, "loop": ours}


def show(rows: list[dict[str, Any]]) -> None:
    """The table on stdout."""
    print(f"GOP/s per GHz, modelled by llvm-mca {mca.version()}; nothing was measured.\n")
    print("| core | kernel | ours | by hand | ours / by hand | peak of the model |")
    print("|---|---|---:|---:|---:|---:|")
    for line in rows:
        figures = f"{line['ours']:.1f} | {line['hand_written']:.1f} | {line['share']:.2f} | {line['peak']:.1f}"
        print(f"| {line['core']} | {line['family']} | {figures} |")
    remarks = {line["core"]: line["remark"] for line in rows if line["remark"]}
    for name, remark in remarks.items():
        print(f"\n{name}: {remark}.")


if __name__ == "__main__":
    main()
