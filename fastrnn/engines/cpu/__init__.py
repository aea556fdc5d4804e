"""The CPU engine: vector code of our own, compiled by numba, one network a thread."""
