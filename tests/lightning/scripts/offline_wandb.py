"""A fit that logs to W&B offline."""

import sys

import wandb
from pytorch_lightning.loggers import WandbLogger

from flopwatch import FlopWatch
from flopwatch.wandb.online import disconnect
from tests.lightning.models import TinyGPT, loader, trainer


class Model(TinyGPT):
    def training_step(self, batch, index):
        loss = super().training_step(batch, index)
        self.log("train/loss", loss)
        return loss


logger = WandbLogger(offline=True, save_dir=sys.argv[1], project="p")
watch = FlopWatch(peak_flops_per_second=1e9, every_n_steps=2)
trainer(sys.argv[1], watch, logger=logger, log_every_n_steps=2, max_steps=10).fit(Model(), loader())
wandb.finish()
disconnect()
