"""Truth, prediction and error of networks that go on from their own predictions, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgevision.compress.compressed import Compressed
from edgevision.compress.session import predictor
from edgevision.data.field_rollout import roll_out
from edgevision.data.wave import WaveSet
from edgevision.data.wave_cost import as_accurate, solver_costs
from edgevision.data.wave_spec import PAST
from edgevision.profile.profile import Profile
from edgevision.report.field_images import animation, side_by_side, still
from edgevision.report.tradeoff import RolledOut, SolverSpeed, Waves

#: Networks shown, and trajectories their errors are taken over; the first is drawn.
NETWORKS, TRAJECTORIES = 3, 16
_MILLISECONDS = 180
#: Target whose profiles were measured where the report is written.
HOST = "host"


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


def solver_speeds(profiles: Sequence[Profile], data: WaveSet) -> tuple[SolverSpeed, ...]:
    """Networks profiled on this machine next to the solver at equal error, one prediction each; the solver runs now."""
    engines = [
        engine
        for profile in profiles
        if profile.target == HOST and profile.metric == "fit"
        for engine in profile.engines
        if engine.accuracy is not None and engine.timing == "measured"
    ]
    if not engines:
        return ()
    costs = solver_costs(data, TRAJECTORIES)
    found = []
    for engine in engines:
        error = 1 - engine.accuracy.value / 100 if engine.accuracy else 1.0
        cost = as_accurate(costs, error)
        found.append(
            SolverSpeed(engine.name, engine.latency.median.value, error, cost.cells, 1e3 * cost.seconds, cost.error)
        )
    return tuple(found)


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
