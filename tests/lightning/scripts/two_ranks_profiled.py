"""Two ranks, of both of which three steps are profiled."""

import sys

from flopwatch import FlopWatch
from tests.lightning.models import TinyGPT, loader, trainer

if __name__ == "__main__":
    watch = FlopWatch(
        dirpath=sys.argv[1], peak_flops_per_second=1e12, every_n_steps=20, profile=True, profile_ranks=[0, 1]
    )
    trainer(sys.argv[1], watch, devices=2, strategy="ddp", max_steps=60).fit(TinyGPT(), loader(200))
