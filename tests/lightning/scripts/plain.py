"""A script that knows nothing of flopwatch."""

import sys

from tests.lightning.models import TinyGPT, loader, trainer

trainer(sys.argv[1], max_steps=6).fit(TinyGPT(), loader())
