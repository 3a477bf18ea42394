"""A network and the data it goes with, before either is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgevision.errors import UsageError

if TYPE_CHECKING:
    from edgevision.data.metric import Metric


def built_in_data(model: str) -> str:
    """The data every installation has for network `model`.

    >>> built_in_data("cas_vit"), built_in_data("codenet_a")
    ('digits', 'shapes')
    """
    from edgevision import zoo
    from edgevision.data.metric import BUILT_IN

    return BUILT_IN[zoo.metric_of(model) or "top-1"]


def refuse_other_data(model: str, data: str) -> None:
    """Raise `UsageError` unless network `model` can learn from, or be measured on, images like those of `data`."""
    from edgevision import zoo
    from edgevision.data.metric import mismatch
    from edgevision.data.open import BOXED_KINDS, LABELLED_KINDS, has_boxes

    metric: Metric = "AP50" if has_boxes(data) else "top-1"
    why = mismatch(model, zoo.metric_of(model), data, metric)
    if why:
        raise UsageError(why, fix=f"--data {LABELLED_KINDS if metric == 'AP50' else BOXED_KINDS}")


def side_for(model: str, data: str, asked: int | None) -> int | None:
    """Side of the images of a new network; None leaves it to the data.

    Detectors differ in the side they were published with; only the shapes, drawn at one size, are taken as they are.
    """
    from edgevision import zoo

    if asked is not None or zoo.metric_of(model) != "AP50" or data == built_in_data(model):
        return asked
    return zoo.published_side(model)
