"""What the NVIDIA driver says: `driver` asks, `lookup` finds a GPU, `gauges` read it, `inventory` lists all GPUs."""
