"""The least there is: any module, and one callback. No config describes the model, so its batches are watched."""

import argparse

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from flopwatch import FlopWatch


class Regression(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 1))

    def training_step(self, batch, batch_idx):
        inputs, targets = batch
        return nn.functional.mse_loss(self.net(inputs), targets)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-steps", type=int, default=2000)
    arguments = parser.parse_args()
    inputs = torch.randn(4096, 64)
    data = DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True)), batch_size=128, shuffle=True)
    trainer = pl.Trainer(
        max_steps=arguments.max_steps,
        accelerator="auto",
        devices=1,
        logger=False,
        default_root_dir="runs",
        enable_checkpointing=False,
        callbacks=[FlopWatch(peak_flops_per_second="measured")],
    )
    trainer.fit(Regression(), data)


if __name__ == "__main__":
    main()
