"""The engine beside a processor, for `check` and `deploy`: which networks it runs, what the processor keeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgevision.errors import DeviceError, EdgeVisionError, Unsupported, UsageError

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from edgevision.bundle import Bundle, Origin
    from edgevision.device.device import Device
    from edgevision.engine.cycles import CallCycles
    from edgevision.engine.figures import Figures
    from edgevision.engine.network import IntegerNetwork
    from edgevision.engine.offload import Offload
    from edgevision.target import Target

#: What the processor does around the engine; no multiply-accumulate is among it.
ON_PROCESSOR = ("image to bytes", "bytes to maps", "objects from maps")


@dataclass(frozen=True)
class EngineCheck:
    """What the engine would do with a network; everything is modelled.

    Attributes:
        figures: None where the network is not made of the engine's integers, or does not fit it.
        calls: of the program, one by one.
        offload: of another network, layers the engine could do.
        on_processor: steps or layers that stay on the processor, with their share of the multiply-accumulates.
        problems: why a network made for the engine does not fit it.
    """

    figures: Figures | None
    calls: tuple[CallCycles, ...] = ()
    offload: Offload | None = None
    on_processor: tuple[tuple[str, float], ...] = ()
    problems: tuple[EdgeVisionError, ...] = ()


def network_for(graph: onnx.ModelProto, target: Target) -> IntegerNetwork | None:
    """The network of integers `graph` is, or None where the target has no engine or the graph other arithmetic.

    Raises:
        Unsupported, UsageError: it is made for the engine, but breaks one of its rules.
    """
    from edgevision.engine.from_graph import integer_network_of

    if target.engine is None or not _made_for_the_engine(graph):
        return None
    return integer_network_of(graph)


def engine_check(graph: onnx.ModelProto, target: Target) -> EngineCheck | None:
    """Look at a graph before anything is built; None where the target has no engine."""
    from edgevision.engine.offload import offload

    if target.engine is None:
        return None
    try:
        network = network_for(graph, target)
        if network is None:
            return EngineCheck(None, offload=offload(graph, target), on_processor=(("everything", 1.0),))
        return network_check(network, target)
    except EdgeVisionError as error:
        return EngineCheck(None, problems=(error,))


def network_check(network: IntegerNetwork, target: Target) -> EngineCheck:
    """What the engine of `target` would do with a network of its integers.

    Raises:
        UsageError: the engine cannot be built with the sizes the target gives.
    """
    from edgevision.engine.figures import figures, share_of
    from edgevision.engine.hardware import checked

    assert target.engine is not None
    engine = checked(target.engine, f"[engine] of target '{target.name}'")
    try:
        modelled, calls = figures(network, engine)
    except Unsupported as error:
        names = [layer.name for layer in network.header.layers if any(f"'{layer.name}'" in r for r in error.reasons)]
        shares = tuple((name, share_of([name], network.header)) for name in names)
        return EngineCheck(None, on_processor=shares, problems=(too_large(error, target),))
    return EngineCheck(modelled, tuple(calls), on_processor=tuple((name, 0.0) for name in ON_PROCESSOR))


def too_large(error: Unsupported, target: Target) -> Unsupported:
    """The error of layers that do not fit, with the way out."""
    return Unsupported(
        error.what, where=f"the engine of {target.name}", reasons=error.reasons,
        fix="fewer channels or a smaller image; --target zynq7020-ps runs all of it on the processor",
    )  # fmt: skip


def open_engine_device(device: str | None, target: Target, bitstream: Path | None, *, timeout: float) -> Device:
    """Where a bundle for the engine is run: the board that is named, else the simulation; nothing is contacted.

    Raises:
        UsageError: a board, and no bitstream for it.
        Unsupported: a device without the engine.
    """
    from edgevision.device import open_device

    name = device or "csim"
    if name.startswith("ssh:") and bitstream is None:
        raise UsageError(
            "the board needs the engine's bitstream, none was given", where=f"--device {name}",
            fix=f"deploy without --device first, make -C BUNDLE/hw bitstream TARGET={target.name}, then deploy again "
            f"with --bitstream BUNDLE/hw/build/{target.name}/engine.bit --overwrite",
        )  # fmt: skip
    if name != "csim" and not name.startswith("ssh:"):
        raise Unsupported(
            f"the network runs on the engine of {target.name}, which '{name}' has not", where=f"--device {name}",
            fix="--device csim simulates it, --device ssh:USER@HOST is the board",
        )  # fmt: skip
    return open_device(name, target, timeout=timeout)


def answering(device: Device, target: Target, *, need_bytes: int, timeout: float) -> tuple[Device, str | None]:
    """`device` when it answers, else the simulation and why.

    Raises:
        EdgeVisionError: the device answers, but cannot take the bundle; or the simulation cannot be built.
    """
    from edgevision.device import open_device

    try:
        device.ready(target, need_bytes=need_bytes)
    except DeviceError as error:
        if device.name == "csim":
            raise
        simulation = open_device("csim", target, timeout=timeout)
        simulation.ready(target)
        return simulation, f"{device.name}: {error.what}"
    return device, None


def write_engine_bundle(
    network: IntegerNetwork, target: Target, origin: Origin, images: np.ndarray, place: Path, *,
    bitstream: Path | None, static: bool, overwrite: bool,
) -> Bundle:  # fmt: skip
    """Compile, run the reference on the golden images, and write the bundle.

    Raises:
        Unsupported: a layer does not fit the engine; all are named.
        UsageError, Mismatch: the bitstream is not the engine's.
        ToolMissing: no C compiler for the processor.
    """
    from edgevision import bundle as bundles

    try:
        made = bundles.build(network, target, images)
    except Unsupported as error:
        raise too_large(error, target) from error
    return bundles.write_engine(made, target, origin, place, bitstream=bitstream, static=static, overwrite=overwrite)


def _made_for_the_engine(graph: onnx.ModelProto) -> bool:
    """Whether its biases stand behind the layers as whole steps: what `graph.from_qat` alone writes.

    Another graph is another network; one of these that breaks a rule of the engine is an error.
    """
    return any(tensor.name.endswith(".steps") for tensor in graph.graph.initializer)
