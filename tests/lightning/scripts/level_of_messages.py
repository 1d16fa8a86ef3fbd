"""A fit under a level of messages that the user has set; prints the level that is left."""

import logging
import sys

from flopwatch import FlopWatch
from tests.lightning.models import TinyGPT, loader, trainer

logging.getLogger("flopwatch").setLevel(sys.argv[2])
trainer(sys.argv[1], FlopWatch(every_n_steps=5, report=False)).fit(TinyGPT(), loader())
print(logging.getLogger("flopwatch").level)
