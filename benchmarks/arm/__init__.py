"""Arm kernels without a board: their inner loops in llvm-mca's models of the cores."""
