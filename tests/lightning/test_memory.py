"""PyTorch's own counters of a device's memory, read and never reset."""

from types import SimpleNamespace

import pytest
import torch

from flopwatch.lightning.memory import MemoryReader
from flopwatch.run.records import Memory


class Counters:
    """What `torch.cuda` says of its caching allocator."""

    def __init__(self):
        self.values = {
            "allocated_bytes.all.peak": 600,
            "reserved_bytes.all.peak": 700,
            "allocated_bytes.all.current": 500,
            "num_alloc_retries": 2,
        }
        self.asked = []

    def memory_stats(self, device):
        self.asked.append(device)
        return self.values

    def get_device_properties(self, device):
        return SimpleNamespace(total_memory=1000)


@pytest.mark.parametrize("kind", ["cuda", "xpu"])
def test_the_counters_are_those_of_the_runs_device(monkeypatch, kind):
    counters, device = Counters(), torch.device(kind, 3)
    monkeypatch.setattr(torch, kind, counters)
    assert MemoryReader(device).read() == Memory(600, 700, 500, 1000, 2)
    assert counters.asked == [device]


def test_a_peak_that_the_user_resets_is_remembered(monkeypatch):
    counters = Counters()
    monkeypatch.setattr(torch, "cuda", counters)
    reader = MemoryReader(torch.device("cuda"))
    reader.read()
    counters.values |= {"allocated_bytes.all.peak": 100, "reserved_bytes.all.peak": 800}
    memory = reader.read()
    assert (memory.peak_bytes, memory.reserved_bytes) == (600, 800)


@pytest.mark.parametrize("kind", ["cpu", "mps", "meta"])
def test_a_device_without_counters_has_no_memory_to_tell_of(kind):
    assert MemoryReader(torch.device(kind)).read() is None
