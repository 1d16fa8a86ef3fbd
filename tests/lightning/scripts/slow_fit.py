"""A fit that takes its time, for a signal to end it."""

import sys
import time

from flopwatch import FlopWatch
from tests.lightning.models import TinyGPT, loader, trainer

model = TinyGPT(lambda index: time.sleep(0.01))
trainer(sys.argv[1], FlopWatch(every_n_steps=5), max_steps=100_000).fit(model, loader(100_000))
