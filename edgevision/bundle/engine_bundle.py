"""A bundle for a board with the engine: programs, driver, golden vectors of every layer, sources of the bitstream."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgevision.bundle.bundle import Bundle, raw, write_files
from edgevision.bundle.driver_sources import driver_sources
from edgevision.bundle.engine_text import Bitfile, engine_text
from edgevision.bundle.link import link_engine_runner
from edgevision.bundle.manifest import (
    NAME,
    SCHEMA,
    EngineInfo,
    FileEntry,
    GoldenVector,
    Manifest,
    Origin,
    StepInfo,
    TensorSpec,
    numerics_version,
)
from edgevision.bundle.toolchain import need_compiler
from edgevision.engine import bitstream as bitstreams
from edgevision.engine import fileformat, programfile
from edgevision.engine.border import quantised_image, real_outputs
from edgevision.engine.deployed import (
    BITSTREAM,
    DESCRIPTION,
    GOLDEN_LAYERS,
    LAYERS,
    LAYERS_TEXT,
    NETWORK,
    PROGRAM,
    PROGRAM_TEXT,
    WORDS,
)
from edgevision.engine.execute import run
from edgevision.engine.figures import figures, macs_of
from edgevision.engine.hardware import checked, fingerprint
from edgevision.engine.network import IntegerNetwork
from edgevision.engine.program import Program, compiled
from edgevision.engine.project import project_files
from edgevision.engine.validate import validated
from edgevision.errors import Mismatch, Unsupported, UsageError
from edgevision.files import refuse_overwrite
from edgevision.resources import shipped
from edgevision.target import Engine, Target

#: How the parts begin whose boards the drivers know.
ZYNQ_7000 = "xc7z"


@dataclass(frozen=True)
class EngineBuild:
    """A network compiled for an engine, with what it gives for some images.

    Attributes:
        golden: images, float32 (1, C, H, W), and the maps (1, C', H', W') the integer reference makes of them.
        layers: every tensor of the first image, by name.
    """

    network: IntegerNetwork
    engine: Engine
    program: Program
    kept: Program
    golden: tuple[tuple[np.ndarray, np.ndarray], ...]
    layers: dict[str, np.ndarray]


def build(network: IntegerNetwork, target: Target, images: np.ndarray) -> EngineBuild:
    """Compile `network` for the engine of `target` and run the reference on images, float32 (N, C, H, W).

    Raises:
        Unsupported: the target has no engine, a layer does not fit it, or the outputs have several sizes.
    """
    if target.engine is None:
        raise Unsupported(f"target '{target.name}' has no engine", fix="edgevision list targets")
    engine = checked(target.engine, f"[engine] of target '{target.name}'")
    program = validated(compiled(network, engine), engine)
    kept = validated(compiled(network, engine, fuse=False, keep=True), engine)
    sizes = {stored.shape[1:] for stored in program.header.outputs}
    if len(sizes) > 1:
        raise Unsupported(f"expected outputs of one size, got {sorted(sizes)}", where="the network's outputs")
    found = [run(network, quantised_image(network, image)) for image in images]
    golden = tuple(
        (image[None], real_outputs(network, tensors)[None]) for image, tensors in zip(images, found, strict=True)
    )
    return EngineBuild(network, engine, program, kept, golden, found[0])


def write_engine(
    made: EngineBuild,
    target: Target,
    origin: Origin,
    out: Path,
    *,
    bitstream: Path | None = None,
    static: bool = False,
    overwrite: bool = False,
) -> Bundle:
    """Write a bundle; the same arguments give the same bytes.

    Args:
        bitstream: engine.bit, with engine.hwh beside it, as `make -C hw bitstream` leaves them.

    Raises:
        ToolMissing: no C compiler for the target.
        UsageError: `out` exists and `overwrite` is false, or the bitstream cannot be read.
        Unsupported: a bitstream for a part whose board the drivers do not know.
        Mismatch: the bitstream holds another engine, or is for another part.
    """
    refuse_overwrite(out, overwrite=overwrite)
    files, bitfile = _bitstream_files(bitstream, made.engine)
    compiler = need_compiler(target, static=static)
    files["runner"] = link_engine_runner(compiler)
    files[PROGRAM], files[LAYERS] = programfile.to_bytes(made.program), programfile.to_bytes(made.kept)
    files[NETWORK] = fileformat.to_bytes(made.network)
    files[PROGRAM_TEXT] = engine_text(made.program, made.network, target, PROGRAM, bitfile).encode()
    files[LAYERS_TEXT] = engine_text(made.kept, made.network, target, LAYERS, bitfile).encode()
    files[GOLDEN_LAYERS] = b"".join(raw(made.layers[stored.name]) for stored in made.kept.header.outputs)
    files |= {f"driver/{path}": content for path, content in driver_sources().items()}
    files |= _hardware_files(made, target)
    vectors = []
    for index, (given, expected) in enumerate(made.golden):
        names = f"golden/input_{index}.bin", f"golden/output_{index}.bin"
        files[names[0]], files[names[1]] = raw(given), raw(expected)
        vectors.append(GoldenVector(*names, tolerance=0.0))
    modelled, _ = figures(made.network, made.engine)
    image, maps = made.golden[0]
    manifest = Manifest(
        schema=SCHEMA,
        origin=origin,
        target=target,
        static=static,
        compiler=compiler.version,
        numerics_version=numerics_version(),
        inputs=(TensorSpec(origin.input_name, image.shape, "float32"),),
        outputs=(TensorSpec("output", maps.shape, "float32"),),
        arena_bytes=made.program.header.map_bytes,
        live_bytes=made.program.header.map_bytes,
        weights_bytes=8 * made.program.header.words,
        macs=modelled.macs,
        steps=_steps(made),
        golden=tuple(vectors),
        files=tuple(FileEntry(n, len(c), hashlib.sha256(c).hexdigest()) for n, c in sorted(files.items())),
        engine=EngineInfo(
            fingerprint=fingerprint(made.engine), bitstream=bitstream is not None, figures=modelled
        ),
    )  # fmt: skip
    write_files(out, {**files, NAME: manifest.encoded()}, overwrite=overwrite)
    return Bundle(out, manifest)


def golden_layers(bundle: Bundle) -> dict[str, np.ndarray]:
    """What every layer gives for the first golden image, in the order they are computed.

    Raises:
        Mismatch: the file is not of the size the layers have.
    """
    path = bundle.folder / GOLDEN_LAYERS
    return layers_of(bundle, path.read_bytes(), where=str(path))


def layers_of(bundle: Bundle, data: bytes, *, where: str) -> dict[str, np.ndarray]:
    """Tensors (channels, height, width) by name, from their bytes one after another, as the runner writes them.

    Raises:
        Mismatch: not as many bytes as the layers have.
    """
    engine = bundle.manifest.target.engine
    if bundle.manifest.engine is None or engine is None:
        raise UsageError("the bundle is not for the engine", where=str(bundle.folder))
    program = programfile.read(bundle.folder / LAYERS, engine)
    at, found = 0, {}
    for stored in program.header.outputs:
        size = int(np.prod(stored.shape))
        one = np.frombuffer(data[at : at + size], np.uint8 if stored.dilations else np.int8)
        found[stored.name], at = one.reshape(stored.shape) if len(one) == size else one, at + size
    if at != len(data):
        raise Mismatch(f"expected {at} bytes of layers, got {len(data)}", where=where)
    return found


def _steps(made: EngineBuild) -> tuple[StepInfo, ...]:
    """The image on the processor, every call of the engine, and the results on the processor."""
    macs = macs_of(made.network.header)
    calls = [
        StepInfo(" + ".join(call.layers), "engine", "engine", sum(macs.get(name, 0) for name in call.layers), True)
        for call in made.program.header.calls
    ]
    # A layer that is split over several calls has its share in each of them.
    parts: dict[str, int] = {}
    for one in calls:
        parts[one.label] = parts.get(one.label, 0) + 1
    calls = [StepInfo(c.label, c.kernel, c.family, c.macs // parts[c.label], c.integer) for c in calls]
    before = StepInfo("image to bytes, on the processor", "processor", "border", 0, False)
    after = StepInfo("bytes to maps, on the processor", "processor", "border", 0, False)
    return (before, *calls, after)


def _bitstream_files(path: Path | None, engine: Engine) -> tuple[dict[str, bytes], Bitfile]:
    if path is None:
        return {}, Bitfile()
    if not engine.part.startswith(ZYNQ_7000):
        raise Unsupported(
            f"expected a part {ZYNQ_7000}..., got {engine.part}: the drivers know the boards of a Zynq-7000",
            where=str(path), fix="leave --bitstream out; the bundle runs on the simulation: --device csim",
        )  # fmt: skip
    described = path.with_suffix(".hwh")
    contents = []
    for one in (path, described):
        try:
            contents.append(one.read_bytes() if one.stat().st_size <= bitstreams.LARGEST_BITSTREAM else b"")
        except OSError as error:
            raise UsageError(f"cannot read the bitstream: {error.strerror}", where=str(one),
                             fix="make -C hw bitstream writes engine.bit and engine.hwh")  from error  # fmt: skip
    found = bitstreams.read(contents[0], str(path))
    bitstreams.require(found, engine, str(path))
    words = bitstreams.swapped(found)
    window = bitstreams.window_of(contents[1], str(described))
    return {BITSTREAM: contents[0], DESCRIPTION: contents[1], WORDS: words}, Bitfile(words, window)


def _hardware_files(made: EngineBuild, target: Target) -> dict[str, bytes]:
    """hw/ as it is shipped, and the folder its Makefile works in, made for this network."""
    hw = shipped("hw")
    files = {
        f"hw/{path.relative_to(hw).as_posix()}": path.read_bytes()
        for path in sorted(hw.rglob("*"))
        if path.is_file() and "build" not in path.relative_to(hw).parts and "__pycache__" not in path.parts
    }
    image = quantised_image(made.network, made.golden[0][0][0])
    project = project_files(made.program, made.engine, image, made.layers)
    return files | {f"hw/build/{target.name}/{name}": content for name, content in project.items()}
