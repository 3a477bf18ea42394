"""What accuracy is measured by: top-1 of networks that name an image, AP50 of those that find objects; in percent."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from edgevision.data.dataset import DataSet, Split
from edgevision.data.detection import DetectionSet, DetectionSplit

#: "top-1": share of images whose largest output is their label. "AP50": mean over classes of the area under precision
#: against recall, a box being right that overlaps an object by half (PASCAL VOC, COCO's AP at IoU 0.5).
Metric = Literal["top-1", "AP50"]

#: Images of either kind: with a label each, or with boxes around their objects.
AnySet: TypeAlias = DataSet | DetectionSet
AnySplit: TypeAlias = Split | DetectionSplit

#: Data that every installation has, by metric.
BUILT_IN: dict[Metric, str] = {"top-1": "digits", "AP50": "shapes"}


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
    """The metric that goes with labelled images, or with images whose objects have boxes."""
    return "AP50" if isinstance(data, DetectionSet) else "top-1"


def mismatch(name: str, metric: Metric | None, data: str, of_data: Metric) -> str | None:
    """Why a network measured by `metric` and data measured by `of_data` do not go together; None when they do.

    >>> mismatch("codenet_a", "AP50", "digits", "top-1")
    'codenet_a finds objects, digits has images with one label each'
    """
    if metric in (None, of_data):
        return None
    does = "finds objects" if metric == "AP50" else "names images"
    has = "images with boxes" if of_data == "AP50" else "images with one label each"
    return f"{name} {does}, {data} has {has}"


def field_of(metric: Metric) -> str:
    """The metric in names of columns and fields.

    >>> field_of("top-1"), field_of("AP50")
    ('top1', 'ap50')
    """
    return metric.replace("-", "").lower()
