"""A bundle on the simulated engine: modelled cycles call by call, and what it finds beside the integer reference.

Nothing here is a latency: a simulation of C++ has none.
"""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import msgspec
import numpy as np

from edgevision.bundle.bundle import load
from edgevision.compress.scoring import Scoring
from edgevision.device.csim import CsimDevice
from edgevision.engine import fileformat
from edgevision.engine.border import quantised_image, real_outputs
from edgevision.engine.deployed import NETWORK
from edgevision.engine.execute import run
from edgevision.engine.figures import Figures, figures
from edgevision.errors import Unsupported
from edgevision.files import write_atomic
from edgevision.profile.agreement import agreement
from edgevision.progress import Progress, silent

SCHEMA = "edgevision.modelled/1"


class CallFigures(msgspec.Struct, frozen=True):
    """One call; cycles of each unit by itself, those it makes the network longer by, and bytes moved."""

    layers: tuple[str, ...]
    pointwise: int
    spatial: int
    read: int
    write: int
    added: int
    bytes: int
    bound: str


class Simulated(msgspec.Struct, frozen=True):
    """What the images showed.

    Attributes:
        simulated, reference: the metric in percent, of the C simulation and of the integer reference.
        max_abs_error: largest difference of their maps.
    """

    metric: str
    data: str
    images: int
    simulated: float
    reference: float
    max_abs_error: float
    differing: int


class Modelled(msgspec.Struct, frozen=True):
    """A bundle's modelled figures; `simulated` is None where no images were looked at."""

    schema: str
    created: str
    command: str
    bundle: str
    bundle_sha256: str
    target: str
    model: str
    figures: Figures
    calls: tuple[CallFigures, ...]
    simulated: Simulated | None
    doubts: tuple[str, ...] = ()
    modelled: bool = True

    def save(self, path: Path) -> None:
        """Write the file."""
        write_atomic(path, msgspec.json.format(msgspec.json.encode(self), indent=1))


def modelled_profile(
    folder: Path,
    device: CsimDevice,
    *,
    scoring: Scoring | None,
    images_from: str | None,
    doubts: tuple[str, ...] = (),
    limit: int | None = None,
    command: str = "",
    progress: Progress = silent,
) -> Modelled:
    """Model the calls of a bundle, and show the simulation and the reference the same images.

    Raises:
        Unsupported: the bundle is not for an engine.
        Mismatch: a file of it changed.
    """
    bundle = load(folder)
    engine = bundle.manifest.target.engine
    if bundle.manifest.engine is None or engine is None:
        raise Unsupported("the bundle has no program for the engine", where=str(folder))
    device.push(folder)
    network = fileformat.read(folder / NETWORK)
    found, calls = figures(network, engine)

    def reference(images: np.ndarray) -> np.ndarray:
        tensors = (run(network, quantised_image(network, image)) for image in images)
        return np.stack([real_outputs(network, one) for one in tensors])

    shown = None
    if scoring is not None:
        engines = {"simulated": device.run, "reference": reference}
        answers = agreement(
            engines, {"simulated": "reference"}, scoring, batch=4, limit=limit, progress=progress
        )  # fmt: skip
        ours, theirs = answers["simulated"], answers["reference"]
        shown = Simulated(
            scoring.metric, images_from or "", ours.accuracy.total, ours.accuracy.percent, theirs.accuracy.percent,
            ours.max_abs_error or 0.0, ours.differing or 0,
        )  # fmt: skip
    return Modelled(
        schema=SCHEMA,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=command,
        bundle=folder.name,
        bundle_sha256=bundle.identity,
        target=bundle.manifest.target.name,
        model=bundle.manifest.origin.model,
        figures=found,
        calls=tuple(
            CallFigures(
                call.layers, call.pointwise, call.spatial, call.read, call.write, call.added, call.bytes, call.bound
            )
            for call in calls
        ),
        simulated=shown,
        doubts=doubts,
    )
