"""A network and the data it goes with, before either is opened."""

from __future__ import annotations

from edgevision.errors import UsageError


def built_in_data(model: str) -> str:
    """The data every installation has for network `model`.

    >>> built_in_data("cas_vit"), built_in_data("codenet_a"), built_in_data("wave_net")
    ('digits', 'shapes', 'wave')
    """
    from edgevision import zoo
    from edgevision.data.metric import BUILT_IN

    return BUILT_IN[zoo.metric_of(model) or "top-1"]


def refuse_other_data(model: str, data: str) -> None:
    """Raise `UsageError` unless network `model` can learn from, or be measured on, data like `data`."""
    from edgevision import zoo
    from edgevision.data.metric import mismatch
    from edgevision.data.open import KINDS, metric_of_spec

    own = zoo.metric_of(model)
    why = mismatch(model, own, data, metric_of_spec(data))
    if why and own:
        raise UsageError(why, fix=f"--data {KINDS[own]}")


def side_for(model: str, data: str, asked: int | None) -> int | None:
    """Side of the images of a new network; None leaves it to the data.

    Detectors differ in the side they were published with; only the shapes, drawn at one size, are taken as they are.
    """
    from edgevision import zoo

    if asked is not None or zoo.metric_of(model) != "AP50" or data == built_in_data(model):
        return asked
    return zoo.published_side(model)
