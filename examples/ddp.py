"""Several processes, one run: what all ranks do is summed, and the slowest of them is told.

torchrun --standalone --nproc-per-node 2 examples/ddp.py
"""

import argparse
import os

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2LMHeadModel

from flopwatch import FlopWatch


class GPT2(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.model: nn.Module = GPT2LMHeadModel(
            GPT2Config(vocab_size=256, n_positions=64, n_embd=64, n_layer=2, n_head=2)
        )

    def training_step(self, batch, batch_idx):
        return self.model(input_ids=batch, labels=batch, use_cache=False).loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--max-steps", type=int, default=300)
    arguments = parser.parse_args()
    pl.seed_everything(0)
    trainer = pl.Trainer(
        max_steps=arguments.max_steps,
        accelerator="auto",
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        num_nodes=int(os.environ.get("GROUP_WORLD_SIZE", "1")),
        strategy="ddp",
        logger=False,
        default_root_dir="runs",
        enable_checkpointing=False,
        callbacks=[FlopWatch(peak_flops_per_second="measured", budget="2M tokens")],
    )
    trainer.fit(GPT2(), DataLoader(torch.randint(256, (4096, 64)), batch_size=8, shuffle=True))


if __name__ == "__main__":
    main()
