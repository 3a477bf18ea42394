"""Times of layers in each width, from the profiles in a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgevision.api.choosing import usable
from edgevision.workspace import Workspace

if TYPE_CHECKING:
    from edgevision.compress.costs import StepTimes

#: The width of the weights, by the recipe of the network a bundle was made of.
WIDTHS = {"fp32": 32, "w8a8": 8, "w4a8": 4, "w4a8-qat": 4}


def step_times(workspace: Workspace, model: str, data: str | None) -> StepTimes | None:
    """Times in the newest profile with the float and the 8-bit bundle of a network; None where there is none.

    Only times of one profile are compared: they were taken in turns on one device. A step of several operators counts
    for the first of them.
    """
    from edgevision.compress.costs import StepTimes
    from edgevision.profile import profile as profiles

    for path in reversed(workspace.all_profiles()):
        for found in usable([path], profiles.load, []):
            engines = [engine for engine in found.engines if engine.runtime == "edgevision" and engine.steps]
            times = {
                WIDTHS[engine.recipe]: _by_layer([(step.label, step.median_us) for step in engine.steps])
                for engine in engines
                if engine.recipe in WIDTHS
            }
            if found.model == model and found.data == (data or "") and {8, 32} <= times.keys():
                return StepTimes(f"on {found.device}, {found.threads} threads, {path.name}", times)
    return None


def _by_layer(steps: list[tuple[str, float]]) -> dict[str, float]:
    times: dict[str, float] = {}
    for label, microseconds in steps:
        layer = label.split(" + ")[0]
        times[layer] = times.get(layer, 0.0) + microseconds
    return times
