"""What accuracy is measured by, in percent: top-1 of networks that name images, AP50 if they find objects, fit if
they predict fields.
"""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from edgevision.data.dataset import DataSet, Split
from edgevision.data.detection import DetectionSet, DetectionSplit
from edgevision.data.wave import WaveSet, WaveSplit

#: "top-1": share of images whose largest output is their label. "AP50": mean over classes of the area under precision
#: against recall, a box being right that overlaps an object by half (PASCAL VOC, COCO's AP at IoU 0.5). "fit":
#: 100 (1 - relative L2 error), mean over windows.
Metric = Literal["top-1", "AP50", "fit"]

#: Data of any kind: images with a label each or with boxes around their objects, or fields in time.
AnySet: TypeAlias = DataSet | DetectionSet | WaveSet
AnySplit: TypeAlias = Split | DetectionSplit | WaveSplit

#: Data that every installation has, by metric.
BUILT_IN: dict[Metric, str] = {"top-1": "digits", "AP50": "shapes", "fit": "wave"}

_DOES: dict[Metric, str] = {"top-1": "names images", "AP50": "finds objects", "fit": "predicts fields"}
_HAS: dict[Metric, str] = {
    "top-1": "images with one label each",
    "AP50": "images with boxes",
    "fit": "fields in time",
}


class Score(Protocol):
    """How good a network is on some images."""

    @property
    def percent(self) -> float:
        """Value of the metric, in percent."""

    @property
    def total(self) -> int:
        """Images it was measured on."""

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval, in percent."""


def metric_of(data: AnySet) -> Metric:
    """The metric that goes with labelled images, with images whose objects have boxes, or with fields."""
    if isinstance(data, WaveSet):
        return "fit"
    return "AP50" if isinstance(data, DetectionSet) else "top-1"


def mismatch(name: str, metric: Metric | None, data: str, of_data: Metric) -> str | None:
    """Why a network measured by `metric` and data measured by `of_data` do not go together; None when they do.

    >>> mismatch("codenet_a", "AP50", "digits", "top-1")
    'codenet_a finds objects, digits has images with one label each'
    """
    if metric is None or metric == of_data:
        return None
    return f"{name} {_DOES[metric]}, {data} has {_HAS[of_data]}"


def field_of(metric: Metric) -> str:
    """The metric in names of columns and fields.

    >>> field_of("top-1"), field_of("AP50")
    ('top1', 'ap50')
    """
    return metric.replace("-", "").lower()
