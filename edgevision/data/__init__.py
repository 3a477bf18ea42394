"""Labelled images, how they are prepared, and how often a network is right about them."""

from edgevision.data.dataset import DataSet, Split
from edgevision.data.evaluate import Accuracy, top1
from edgevision.data.open import open_data
from edgevision.data.preprocess import Preprocessing

__all__ = ["Accuracy", "DataSet", "Preprocessing", "Split", "open_data", "top1"]
