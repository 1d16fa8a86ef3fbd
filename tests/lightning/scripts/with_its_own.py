"""A script with a FlopWatch of its own."""

import sys

from flopwatch import FlopWatch
from tests.lightning.models import TinyGPT, loader, trainer

trainer(sys.argv[1], FlopWatch(), max_steps=6).fit(TinyGPT(), loader())
