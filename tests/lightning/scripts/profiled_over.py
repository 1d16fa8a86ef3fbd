"""A profiler of the user's own begins in the middle of ours, and ends with a step."""

import faulthandler
import sys

import torch

from flopwatch import FlopWatch
from tests.lightning.models import TinyGPT, loader, trainer
from tests.lightning.test_recorder import Theirs


class Older:
    """The older interface, with the names of the newer one."""

    def __init__(self):
        self.profile = torch.autograd.profiler.profile()

    def start(self):
        self.profile.__enter__()

    def stop(self):
        self.profile.__exit__(None, None, None)

    def events(self):
        return self.profile.function_events


faulthandler.enable()
theirs = Theirs(ends=int(sys.argv[2]), make=Older if sys.argv[3] == "older" else torch.profiler.profile)
watch = FlopWatch(dirpath=sys.argv[1], profile=True)
trainer(sys.argv[1], watch, theirs, max_steps=30).fit(TinyGPT(), loader(200))
print("events:", theirs.events)
