"""Settings and presets as plain frozen data; imports no PyTorch."""
