"""The wave surrogate: dense against factorized before training, and against the solver."""
