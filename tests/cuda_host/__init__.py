"""Kernels on the processor: `host.h` stands in for a GPU, `module` for CuPy."""
