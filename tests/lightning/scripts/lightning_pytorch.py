"""A script of the other package, `lightning.pytorch`."""

import sys

import lightning.pytorch as pl
import torch


class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def training_step(self, batch, index):
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


data = torch.utils.data.DataLoader(torch.ones(40, 2), batch_size=2)
pl.Trainer(
    max_steps=6,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    accelerator="cpu",
    default_root_dir=sys.argv[1],
).fit(Module(), data)
