"""Accuracy against parameters of factorized networks, before and after training."""
