"""Images with labels or boxes, or fields in time, how they are prepared, and how good a network is at them."""

from edgevision.data.dataset import DataSet, Split
from edgevision.data.detection import DetectionSet, DetectionSplit, Objects
from edgevision.data.evaluate import Accuracy, top1
from edgevision.data.letterbox import Letterbox
from edgevision.data.open import has_boxes, open_data, open_detections, open_set
from edgevision.data.preprocess import Preprocessing
from edgevision.data.wave import WaveSet, WaveSplit

__all__ = [
    "Accuracy",
    "DataSet",
    "DetectionSet",
    "DetectionSplit",
    "Letterbox",
    "Objects",
    "Preprocessing",
    "Split",
    "WaveSet",
    "WaveSplit",
    "has_boxes",
    "open_data",
    "open_detections",
    "open_set",
    "top1",
]
