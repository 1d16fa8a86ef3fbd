"""Small models, data and loggers for real fits on the CPU."""

import importlib.util
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers.logger import Logger
from torch.utils.data import DataLoader, Dataset

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_gpt.py"
SEQUENCES, SEQ_LEN = 2, 16


def load_example():
    spec = importlib.util.spec_from_file_location("train_gpt", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["train_gpt"] = module
    spec.loader.exec_module(module)
    return module


example = load_example()
CONFIG = example.GPTConfig(vocab_size=32, n_positions=32, n_embd=8, n_layer=2, n_head=2)

# Forward FLOPs of one 16-token sequence of CONFIG by hand. Per token and layer: q, k, v, o 4 * 8 * 8 = 256
# multiply-adds, MLP 8 * 8 * 8 = 512; head 8 * 32 = 256: (2 * 768 + 256) * 2 FLOPs * 16 tokens = 57,344.
# Core per layer: 2 heads x (4 + 4) x 2 FLOPs x 16 * 17 / 2 pairs = 4,352; two layers 8,704. Training is three times
# the forward.
FLOPS_PER_SEQUENCE = 3 * (57_344 + 8_704)
FLOPS_PER_BATCH = SEQUENCES * FLOPS_PER_SEQUENCE
TOKENS_PER_BATCH = SEQUENCES * SEQ_LEN


def nothing(index):
    """What happens at a batch by default."""


class TinyGPT(example.GPT):
    """The example's model in small, that can be told to do things at a batch."""

    def __init__(self, at_batch=None, config=CONFIG):
        super().__init__(config)
        self.at_batch = at_batch or nothing

    def training_step(self, batch, batch_idx):
        self.at_batch(batch_idx)
        return self._loss(batch)

    def validation_step(self, batch, batch_idx):
        self._loss(batch)


class Tokens(Dataset):
    """Token ids, made from their index; the same at every start."""

    def __init__(self, batches=1000, sequences=SEQUENCES, seq_len=SEQ_LEN):
        self.count, self.seq_len = batches * sequences, seq_len

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        row = (torch.arange(self.seq_len + 1) * 7 + index) % 32
        return row[:-1], row[1:]


def loader(batches=1000, **changes):
    return DataLoader(Tokens(batches, **changes), batch_size=SEQUENCES)


class MemoryLogger(Logger):
    """Keeps what it is given."""

    def __init__(self):
        super().__init__()
        self.rows, self.facts = [], []

    name = property(lambda self: "memory")
    version = property(lambda self: "0")

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, params, *args, **named):
        self.facts.append(params)

    def ours(self):
        return [(step, row) for step, row in self.rows if any("perf/" in key for key in row)]


def trainer(tmp_path, *callbacks, **changes):
    values = {
        "max_steps": 10,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": tmp_path,
    }
    return pl.Trainer(callbacks=list(callbacks), **{**values, **changes})
