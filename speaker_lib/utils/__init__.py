"""What every package needs: errors, atomic writes, progress bars, worker processes, devices, signals."""
