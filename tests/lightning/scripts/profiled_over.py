"""A profiler of the user's own begins in the middle of ours, and ends with a step."""

import faulthandler
import sys

from flopwatch import FlopWatch
from tests.lightning.models import TinyGPT, loader, trainer
from tests.lightning.test_recorder import Theirs

faulthandler.enable()
theirs = Theirs(ends=int(sys.argv[2]))
watch = FlopWatch(dirpath=sys.argv[1], profile=True)
trainer(sys.argv[1], watch, theirs, max_steps=30).fit(TinyGPT(), loader(200))
print("events:", theirs.events)
