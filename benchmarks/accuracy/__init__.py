"""Accuracy of binary networks against float, w8a8 and plain signs, at equal budget: `python -m benchmarks.accuracy`."""
