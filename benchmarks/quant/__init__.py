"""Accuracy of post-training quantisation on ImageNet photographs, next to the quantisers of other tools."""
