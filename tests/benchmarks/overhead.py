"""Thread CPU time per training step that a callback adds, against an empty callback, interleaved in one run.

    python tests/benchmarks/overhead.py [--steps 3000] [--rounds 5]

Compared are FlopWatch (with its default window of ten seconds and with one every 50 steps, all keys, a logger that
keeps nothing) and Lightning's ThroughputMonitor and LearningRateMonitor every 50 steps. Machines are noisy: repeat it
and look at how far the rounds lie apart before reading anything into a difference.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
import warnings

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, LearningRateMonitor, ThroughputMonitor
from pytorch_lightning.loggers.logger import DummyLogger

from flopwatch import FlopWatch

EVERY_N_STEPS = 50
CONFIG = {"model_type": "gpt2", "vocab_size": 16, "n_positions": 8, "n_embd": 4, "n_layer": 1, "n_head": 1}


class NullLogger(DummyLogger):
    def log_metrics(self, *arguments, **named):
        pass


class Empty(Callback):
    def on_train_batch_start(self, *arguments):
        pass

    def on_train_batch_end(self, *arguments):
        pass


class Tiny(pl.LightningModule):
    flops_per_batch = 1000

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(16, 4)
        self.rest = torch.nn.Parameter(torch.zeros(parameters_of_config() - 64))
        self.cpu_seconds = []

    def training_step(self, batch, index):
        self.cpu_seconds.append(time.thread_time())
        return self.embedding(batch[0]).sum() + self.rest.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def parameters_of_config():
    from flopwatch.architectures import architecture_of

    return architecture_of(CONFIG).parameters()


def watch(folder, every_n_steps=None):
    return FlopWatch(
        config=CONFIG, peak_flops_per_second=1e9, every_n_steps=every_n_steps, dirpath=folder, report=False
    )


VARIANTS = {
    "empty callback": lambda folder: Empty(),
    "FlopWatch, every 10 s": watch,
    "FlopWatch, 50 steps": lambda folder: watch(folder, EVERY_N_STEPS),
    "ThroughputMonitor": lambda folder: ThroughputMonitor(
        batch_size_fn=lambda batch: 2, length_fn=lambda batch: 16, window_size=EVERY_N_STEPS
    ),
    "LearningRateMonitor": lambda folder: LearningRateMonitor(),
}


def microseconds_per_step(make, steps):
    """Median over the steps after the first hundred of the thread CPU time from one step to the next."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            max_steps=steps,
            accelerator="cpu",
            devices=1,
            logger=NullLogger(),
            log_every_n_steps=EVERY_N_STEPS,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
            callbacks=[make(folder)],
        )
        module = Tiny()
        rows = torch.zeros(steps, 8, dtype=torch.long)
        data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(rows, rows), batch_size=1)
        trainer.fit(module, data)
    seconds = module.cpu_seconds[100:]
    return 1e6 * (seconds[-1] - seconds[0]) / (len(seconds) - 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    for name in ("pytorch_lightning", "lightning.pytorch", "flopwatch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    measured = {name: [] for name in VARIANTS}
    for _ in range(arguments.rounds):
        for name, make in VARIANTS.items():
            measured[name].append(microseconds_per_step(make, arguments.steps))
    base = statistics.median(measured["empty callback"])
    print(
        f"torch {torch.__version__}, pytorch-lightning {pl.__version__}, {arguments.rounds} x {arguments.steps} steps"
    )
    print(f"{'callback':22} {'us/step':>8} {'above empty':>12}")
    for name, values in measured.items():
        print(f"{name:22} {statistics.median(values):8.1f} {statistics.median(values) - base:+12.1f}")


if __name__ == "__main__":
    main()
