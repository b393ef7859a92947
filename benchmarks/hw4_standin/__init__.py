"""A synthetic stand-in for HW4 at full size, for measurements only. ``python -m benchmarks.hw4_standin OUT`` makes one."""
