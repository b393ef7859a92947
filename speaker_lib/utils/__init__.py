"""Tools for every package: errors, atomic writes, progress bars, worker processes, devices, signals."""
