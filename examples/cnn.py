"""A convolutional network of your own: watched as it runs, samples instead of tokens, validation metered, too."""

import argparse

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from flopwatch import FlopWatch


def block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2))


class Classifier(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(block(3, 32), block(32, 64), block(64, 128), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(128, 10)

    def _loss(self, batch):
        images, labels = batch
        return nn.functional.cross_entropy(self.head(self.features(images).flatten(1)), labels)

    def training_step(self, batch, batch_idx):
        return self._loss(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self._loss(batch), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def images(count: int) -> TensorDataset:
    return TensorDataset(torch.randn(count, 3, 32, 32), torch.randint(10, (count,)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-steps", type=int, default=200)
    arguments = parser.parse_args()
    trainer = pl.Trainer(
        max_steps=arguments.max_steps,
        val_check_interval=min(50, arguments.max_steps),
        check_val_every_n_epoch=None,
        accelerator="auto",
        devices=1,
        logger=False,
        default_root_dir="runs",
        enable_checkpointing=False,
        callbacks=[FlopWatch(peak_flops_per_second="measured", inference=True)],
    )
    trainer.fit(Classifier(), DataLoader(images(2048), batch_size=64), DataLoader(images(256), batch_size=64))


if __name__ == "__main__":
    main()
