"""Two ranks of different pace that end at a budget; each prints its last step."""

import json
import os
import sys

import pytorch_lightning as pl
import torch

from flopwatch import FlopWatch
from tests.lightning.models import TinyGPT, loader

torch.set_num_threads(1)

rank = int(os.environ.get("LOCAL_RANK", 0))


def slowly(index):
    import time

    time.sleep(0.02 + 0.02 * rank)


model = TinyGPT(slowly)
watch = FlopWatch(sys.argv[2], on_budget="stop", every_n_seconds=0.3, dirpath=sys.argv[1])
one = pl.Trainer(
    accelerator="cpu",
    devices=2,
    strategy="ddp",
    max_steps=400,
    logger=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    enable_checkpointing=False,
    callbacks=[watch],
    default_root_dir=sys.argv[1],
)
one.fit(model, loader(int(sys.argv[3])))
print(json.dumps(["stopped", rank, one.global_step]), flush=True)
