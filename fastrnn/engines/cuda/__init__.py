"""The CUDA engine: all networks of a group in a few launches an iteration, by the kernels of `kernels/`."""
