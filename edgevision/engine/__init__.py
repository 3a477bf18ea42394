"""The deformable-convolution engine seen from software: networks of integers alone, their arithmetic and their file."""
