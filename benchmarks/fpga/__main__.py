"""What the engine would take: frames per second of networks, cycles of layers, DSPs and block RAMs. All modelled.

python -m benchmarks.fpga --target pynq-z2                    # the five published configurations, and the part
python -m benchmarks.fpga --target pynq-z2 --layers codenet_a # call by call
python -m benchmarks.fpga --target pynq-z2 --network net.evn  # an exported integer network
python -m benchmarks.fpga --target pynq-z2 --deform           # what restricted offsets save; the authors' accelerator
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from benchmarks.fpga import authors, deform, goals
from benchmarks.fpga.codenet import codenet
from edgevision.engine import fileformat
from edgevision.engine.area import parts_of, use_of
from edgevision.engine.checks import tensors_of
from edgevision.engine.cycles import GB_S, CallCycles, modelled
from edgevision.engine.hardware import hardware
from edgevision.engine.network import Convolution, Header, IntegerNetwork
from edgevision.errors import EdgeVisionError
from edgevision.target import Engine
from edgevision.zoo.codenet import VARIANTS

#: Frames per second on an Ultra96 with 360 DSPs at 250 MHz, stem and shuffles on the processor: the FPGA'21 table as
#: printed in the authors' repository.
PUBLISHED = {"codenet_a": 32.2, "codenet_b": 26.9, "codenet_c": 9.3, "codenet_d": 5.2, "codenet_e": 4.6}


def main() -> int:
    """Print the tables, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="pynq-z2")
    parser.add_argument(
        "--gb-s", type=float, default=GB_S, help="bytes a nanosecond of the memory (default %(default)s)"
    )
    parser.add_argument("--layers", choices=list(VARIANTS), help="one configuration, call by call")
    parser.add_argument("--network", type=Path, help="an integer network, call by call")
    parser.add_argument("--deform", action="store_true", help="the authors' experiment with restricted offsets")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    try:
        engine = hardware(given.target)
        if given.deform:
            _show_deform(given, engine)
        elif given.layers or given.network:
            network = fileformat.read(given.network) if given.network else codenet(given.layers, spread=False)
            calls = modelled(network, engine, gb_s=given.gb_s)
            rows = [
                {**_row(calls[index], engine), "layers": " + ".join(calls[index].layers)} for index in range(len(calls))
            ]
            _show(given, engine, {"calls": rows, "network": _network(network, calls, engine)})
        else:
            found = {}
            for name in VARIANTS:
                network = codenet(name, spread=False)
                found[name] = _network(network, modelled(network, engine, gb_s=given.gb_s), engine)
                found[name]["published_fps"] = PUBLISHED[name]
            _show(given, engine, {"networks": found})
    except EdgeVisionError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _row(call: CallCycles, engine: Engine) -> dict[str, object]:
    fields = {name: getattr(call, name) for name in ("pointwise", "spatial", "read", "write", "fill", "added", "bytes")}
    return {**fields, "ms": round(call.added / engine.clock_mhz / 1e3, 3), "bound": call.bound}


def _network(network: IntegerNetwork, calls: list[CallCycles], engine: Engine) -> dict[str, object]:
    cycles = max(call.last for call in calls)
    macs, pointwise = macs_of(network.header)
    return {
        "calls": len(calls),
        "mmacs": round(macs / 1e6, 1),
        "mbytes": round(sum(call.bytes for call in calls) / 1e6, 2),
        "cycles": cycles,
        "ms": round(cycles / engine.clock_mhz / 1e3, 2),
        "fps": round(engine.clock_mhz * 1e6 / cycles, 1),
        "array_busy_percent": round(100 * sum(call.pointwise for call in calls) / cycles, 1),
        "array_macs_percent": round(100 * pointwise / (cycles * engine.lanes * engine.columns), 1),
    }


def macs_of(header: Header) -> tuple[int, int]:
    """Multiply-accumulates of all convolutions, and of those on the 1x1 array."""
    tensors = tensors_of(header)
    total = pointwise = 0
    for layer in header.layers:
        if isinstance(layer, Convolution):
            _, height, width = tensors[layer.name].shape
            macs = height * width * layer.channels * layer.depth * layer.kernel**2
            total += macs
            pointwise += 0 if layer.depthwise else macs
    return total, pointwise


def _show(given: argparse.Namespace, engine: Engine, found: dict[str, object]) -> None:
    found["resources"] = [{**msgspec.to_builtins(use), "verdict": use.verdict} for use in use_of(engine)]
    if given.json:
        head = {"schema": "edgevision.fpga_model/1", "target": given.target, "gb_s": given.gb_s, "modelled": True}
        print(msgspec.json.encode(head | found).decode())
        return
    print(f"{given.target}: {engine.part}, {engine.clock_mhz} MHz, memory {given.gb_s} GB/s. Modelled, not measured.\n")
    networks = found.get("networks") or {given.layers or str(given.network): found["network"]}
    if "calls" in found:
        _table(found["calls"])  # type: ignore[arg-type]
    _table([{"network": name, **row} for name, row in networks.items()])  # type: ignore[union-attr]
    _table([{"part": part.name, "DSP": part.dsp, "BRAM36": part.bram36} for part in parts_of(engine)])
    _table([{"resource": u.resource, "used": u.used, "of": u.available, "verdict": u.verdict} for u in use_of(engine)])


def _show_deform(given: argparse.Namespace, engine: Engine) -> None:
    theirs, mine = [], []
    for kind, published in deform.PUBLISHED.items():
        for variant in deform.VARIANTS:
            modelled_ms = deform.authors(kind == "depthwise", variant)
            theirs.append({"operation": kind, "variant": variant, "modelled_ms": round(modelled_ms, 2),
                           "published_ms": published[variant]})  # fmt: skip
        square = deform.authors(kind == "depthwise", "square")
        theirs.append({"operation": kind, "variant": "deform / square",
                       "modelled_ms": round(deform.authors(kind == "depthwise", "deform") / square, 2),
                       "published_ms": round(published["deform"] / published["square"], 2)})  # fmt: skip
        for one in deform.ours(engine, given.gb_s, depthwise=kind == "depthwise"):
            ms = round(one.cycles / engine.clock_mhz / 1e3, 2)
            mine.append({"operation": kind, "variant": one.variant, "cycles": one.cycles, "ms": ms,
                         "ratio": round(one.ratio, 2)})  # fmt: skip
    times = [
        {"network": name, "modelled_ms": round(ms, 1), "published_ms": authors.CONVOLUTIONS_MS[name],
         "fitted": "yes" if name in authors.FITTED else "predicted"}
        for name, ms in authors.times().items()
    ]  # fmt: skip
    area = [
        {"resource": use.resource, "modelled": use.used, "published": authors.RESOURCES[use.resource]}
        for use in authors.uses()
    ]
    wanted = goals.rows(engine, given.gb_s)
    if given.json:
        head = {"schema": "edgevision.fpga_deform/1", "target": given.target, "gb_s": given.gb_s, "modelled": True}
        parts = {"authors": theirs, "ours": mine, "goals": wanted, "times": times, "area": area}
        print(msgspec.json.encode(head | parts).decode())
        return
    print("The authors' accelerator: 3x3 on 64x64x256, their Table 2 without cache\n")
    _table(theirs)
    print(f"This engine on {given.target}, memory {given.gb_s} GB/s\n")
    _table(mine)
    _table(wanted)
    print("The authors' accelerator: convolutions of the networks, and their Table 5\n")
    _table(times)
    _table(area)


def _table(rows: list[dict[str, object]]) -> None:
    titles = list(rows[0])
    widths = [max(len(title), *(len(str(row[title])) for row in rows)) for title in titles]
    for row in [dict(zip(titles, titles, strict=True)), *rows]:
        print("  ".join(str(row[title]).rjust(width) for title, width in zip(titles, widths, strict=True)))
    print()


if __name__ == "__main__":
    sys.exit(main())
