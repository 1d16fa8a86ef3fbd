"""A fit that logs to W&B offline, under a prefix of the logger and one of flopwatch."""

import time

import wandb
from pytorch_lightning.loggers import WandbLogger

from flopwatch import FlopWatch
from flopwatch.wandb.online import disconnect
from tests.lightning.models import TinyGPT, loader, trainer

watch = FlopWatch(peak_flops_per_second=1e9, every_n_steps=2, prefix="mine")
logger = WandbLogger(offline=True, save_dir="runs", project="p", prefix="exp1")
trainer("runs", watch, logger=logger, log_every_n_steps=2, max_steps=20).fit(
    TinyGPT(lambda index: time.sleep(0.005)), loader()
)
wandb.finish()
disconnect()
