"""Truth, prediction and error of networks that go on from their own predictions, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgevision.compress.compressed import Compressed
from edgevision.compress.session import predictor
from edgevision.data.field_rollout import roll_out
from edgevision.data.wave import WaveSet
from edgevision.data.wave_spec import PAST
from edgevision.report.field_images import animation, side_by_side, still
from edgevision.report.tradeoff import RolledOut, Waves

#: Networks shown, and trajectories their errors are taken over; the first is drawn.
NETWORKS, TRAJECTORIES = 3, 16
_MILLISECONDS = 180


def field_pictures(networks: Sequence[Compressed], data: WaveSet) -> Waves:
    """Run the networks' ONNX files in onnxruntime over whole test trajectories.

    Args:
        networks: of one preprocessing, that of `data`; the first `NETWORKS` are shown.
        data: what they were measured on.

    Raises:
        UsageError: there is no test split, or a network does not predict such fields.
        Unsupported: onnxruntime refuses a graph.
    """
    split, spec = data.split("test"), data.waves
    return Waves(
        interval=spec.interval,
        later=spec.later,
        given=PAST,
        trajectories=min(TRAJECTORIES, len(split.trajectories)),
        networks=tuple(_rolled_out(network, data) for network in networks[:NETWORKS]),
    )


def _rolled_out(network: Compressed, data: WaveSet) -> RolledOut:
    split, spec = data.split("test"), data.waves
    done = roll_out(predictor(network.graph()), split, trajectories=TRAJECTORIES)
    true, found = split.trajectories[0].fields, done.fields[0]
    # One scale for all three, and for all times: what fades is seen to fade.
    largest = float(np.abs(true).max())
    panels = np.stack([true, found, found - true])
    # The last given field, then the last one of each prediction.
    columns = range(PAST - 1, spec.frames, spec.later)
    rows = [side_by_side(panels[part, list(columns)], largest) for part in range(3)]
    frames = [side_by_side(panels[:, index], largest) for index in range(spec.frames)]
    return RolledOut(
        title=network.info.recipe.name,
        animation=animation(frames, _MILLISECONDS),
        still=still(rows),
        side=spec.side,
        errors=tuple(float(value) for value in done.errors),
        energy_drift=tuple(float(value) for value in done.energy_drift),
    )
