"""A profiler of the user's own begins while ours records, and ours is ended before its next step."""

import faulthandler

import torch

from flopwatch.lightning.recorder import TorchRecorder


def work():
    return torch.ones(64, 64) @ torch.ones(64, 64)


faulthandler.enable()
ours = TorchRecorder()
ours.start()
for _ in range(2):
    work()
    ours.step()
theirs = torch.profiler.profile()
theirs.start()
work()
ours.stop()
del ours
work()
theirs.stop()
print("events:", sum(event.name == "aten::mm" for event in theirs.events()))
