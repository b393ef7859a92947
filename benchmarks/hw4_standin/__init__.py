"""A synthetic stand-in for HW4, at its full size: for measuring only. ``python -m benchmarks.hw4_standin OUT`` makes one."""
