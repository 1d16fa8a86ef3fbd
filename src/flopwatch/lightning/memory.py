"""How full PyTorch makes a device's memory, by its own allocator's counters; asking takes no time of the device."""

from __future__ import annotations

import torch

from flopwatch.run.records import Memory

_WITH_COUNTERS = ("cuda", "xpu")


class MemoryReader:
    """Reads the counters of a device's caching allocator.

    It never resets their peaks, which are the user's; one that the user resets is remembered.

    Args:
        device: The run's device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._module = getattr(torch, device.type) if device.type in _WITH_COUNTERS else None
        self._peak_bytes = self._reserved_bytes = 0

    def read(self) -> Memory | None:
        """Return what tensors and PyTorch hold, `None` on a device without such counters."""
        if self._module is None:
            return None
        counters = self._module.memory_stats(self._device)
        self._peak_bytes = max(self._peak_bytes, counters["allocated_bytes.all.peak"])
        self._reserved_bytes = max(self._reserved_bytes, counters["reserved_bytes.all.peak"])
        return Memory(
            peak_bytes=self._peak_bytes,
            reserved_bytes=self._reserved_bytes,
            allocated_bytes=counters["allocated_bytes.all.current"],
            total_bytes=self._module.get_device_properties(self._device).total_memory,
            retries=counters.get("num_alloc_retries", 0),
        )
