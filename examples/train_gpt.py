"""Train a small byte-level GPT on the source of Python's standard library, watched by flopwatch.

It needs no download, no account and no network. On a CPU it takes about three minutes; on a GPU the same script logs
MFU against the datasheet peak. Stop it with Ctrl-C and go on with `--resume`: the totals continue.
"""

from __future__ import annotations

import argparse
import os
import sysconfig
from dataclasses import asdict, dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from flopwatch import FlopWatch

# `wandb leet` shows a row once it is in the file: write it every two seconds instead of every fifteen.
os.environ.setdefault("WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL", "2")
RUNS = Path("runs")
CHECKPOINTS = RUNS / "checkpoints"


@dataclass(frozen=True)
class GPTConfig:
    """A Hugging Face style config: flopwatch finds it as `module.config` and counts from it."""

    model_type: str = "gpt2"
    vocab_size: int = 256
    n_positions: int = 256
    n_embd: int = 256
    n_layer: int = 4
    n_head: int = 4


class Block(nn.Module):
    def __init__(self, config: GPTConfig):
        super().__init__()
        width, self.heads = config.n_embd, config.n_head
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        heads = (batch, length, self.heads, width // self.heads)
        q, k, v = (each.view(heads).transpose(1, 2) for each in self.qkv(self.ln_1(x)).split(width, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.ln_2(x))))


class GPT(pl.LightningModule):
    def __init__(self, config: GPTConfig):
        super().__init__()
        self.save_hyperparameters(asdict(config))
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.lm_head.weight = self.wte.weight
        self.apply(self._init)

    @staticmethod
    def _init(module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return self.lm_head(self.ln_f(x))

    def _loss(self, batch):
        inputs, targets = batch
        return F.cross_entropy(self(inputs).flatten(0, 1), targets.flatten())

    def training_step(self, batch, batch_idx):
        loss = self._loss(batch)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self._loss(batch), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3, betas=(0.9, 0.95))


class StandardLibrary(Dataset):
    """Stretches of the standard library's source: pairs of bytes and the bytes that follow them."""

    def __init__(self, length: int, split: str, megabytes: int = 8):
        files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
        text = b"".join(file.read_bytes() for file in files)[: megabytes * 2**20]
        border = len(text) * 9 // 10
        data = torch.frombuffer(bytearray(text[:border] if split == "train" else text[border:]), dtype=torch.uint8)
        self.rows = data[: len(data) // (length + 1) * (length + 1)].view(-1, length + 1)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        row = self.rows[index].long()
        return row[:-1], row[1:]


class SaveWhenInterrupted(Callback):
    """Lightning's own OnExceptionCheckpoint would also make every later start go on from the last checkpoint."""

    def on_exception(self, trainer, pl_module, exception):
        trainer.save_checkpoint(CHECKPOINTS / "interrupted.ckpt")


def newest_checkpoint() -> Path:
    found = sorted(CHECKPOINTS.glob("*.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise SystemExit(f"there is no checkpoint in {CHECKPOINTS} to go on from; run without --resume first")
    return found[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--max-steps", type=int, default=500, help="optimizer steps")
    parser.add_argument("--batch-size", type=int, default=8, help="sequences per step")
    parser.add_argument("--resume", action="store_true", help="resume from the last checkpoint in runs/")
    arguments = parser.parse_args()

    RUNS.mkdir(exist_ok=True)
    pl.seed_everything(0)
    config = GPTConfig()
    train, validation = (
        DataLoader(
            StandardLibrary(config.n_positions, split), batch_size=arguments.batch_size, shuffle=split == "train"
        )
        for split in ("train", "validation")
    )
    on_gpu = torch.cuda.is_available()
    watch = FlopWatch(
        # A CPU has no datasheet peak, so its peak is measured; a GPU's is looked up.
        peak_flops_per_second=None if on_gpu else "measured",
        every_n_seconds=5,
        val_loss="val/loss",
        profile=True,
    )
    trainer = pl.Trainer(
        max_steps=arguments.max_steps,
        accelerator="auto",
        devices=1,
        precision="bf16-mixed" if on_gpu else "32-true",
        val_check_interval=min(100, arguments.max_steps),
        limit_val_batches=10,
        log_every_n_steps=10,
        default_root_dir=RUNS,
        logger=WandbLogger(project="flopwatch-example", save_dir=RUNS, offline=True),
        callbacks=[
            watch,
            ModelCheckpoint(CHECKPOINTS, every_n_train_steps=50, save_last=True, enable_version_counter=False),
            SaveWhenInterrupted(),
        ],
    )
    trainer.fit(GPT(config), train, validation, ckpt_path=newest_checkpoint() if arguments.resume else None)


if __name__ == "__main__":
    main()
