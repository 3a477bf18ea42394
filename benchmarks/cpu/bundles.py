"""Our side: an ONNX graph compiled for this machine, kept in the work folder as long as graph and compiler stay."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from benchmarks.common import progress
from benchmarks.cpu.pieces import key_of, source_hash
from benchmarks.cpu.prepare import Prepared
from edgevision import bundle as bundles
from edgevision import compiler, target
from edgevision.bundle import Origin
from edgevision.bundle.manifest import Manifest, read_manifest
from edgevision.compress.session import session
from edgevision.data.preprocess import Preprocessing
from edgevision.device import open_device
from edgevision.errors import EdgeVisionError
from edgevision.files import sha256_of, write_atomic
from edgevision.machine import resolve
from edgevision.profile.engines import BundleEngine


@dataclass(frozen=True)
class Built:
    """A bundle folder, and the bytes each step of its plan touches: inputs, constants and outputs, each once."""

    folder: Path
    step_bytes: tuple[int, ...]


def built(graph: Path, image: np.ndarray, work: Path) -> Built:
    """Compile `graph` for this machine; `image` (1, ...) float32 becomes the input that is timed.

    Raises:
        EdgeVisionError: the graph cannot be compiled.
    """
    key = key_of({"graph": sha256_of(graph), "source": source_hash()})
    folder = work / "bundles" / f"{graph.stem}-{key}"
    beside = folder.with_suffix(".bytes.json")
    if not beside.is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        model = onnx.load(str(graph))
        program = compiler.compile_graph(model, resolve(target.load("host")))
        name = model.graph.input[0].name
        # Unoptimised, because onnxruntime's optimiser cannot fuse every graph that it can run.
        expected = session(model, threads=1, optimise=False).run(None, {name: image})[0]
        origin = Origin(
            model=graph.stem, recipe="bench", seed=0, input_name=name, preprocessing=Preprocessing(height=1, width=1)
        )
        bundles.write(program, origin, folder, golden=[(image, expected)], overwrite=True)
        steps = program.steps[program.prepared :]
        touched = [sum(program.tensors[index].nbytes for index in set(step.tensors)) for step in steps]
        write_atomic(beside, json.dumps(touched).encode())
    return Built(folder, tuple(json.loads(beside.read_text())))


def every_kind(made: Prepared, work: Path) -> dict[str, Built]:
    """Our float and int8 bundle of a network, by kind; what cannot be compiled is left out and named on stderr."""
    kinds = {"fp32": made.plain} | ({"int8": made.ours} if made.ours else {})
    found = {}
    for kind, path in kinds.items():
        try:
            found[kind] = built(path, made.images[0], work)
        except EdgeVisionError as error:
            progress(f"{path.stem} cannot be compiled:", 1, 1, error.what)
    return found


def engine(name: str, made: Built, threads: int) -> BundleEngine:
    """The bundle on this machine, ready to take turns."""
    manifest = bundles.load(made.folder).manifest
    return BundleEngine(name, made.folder, open_device("host", manifest.target), threads)


def manifest_of(opened: BundleEngine) -> Manifest:
    """What an open bundle says of itself."""
    return read_manifest(opened.folder)
