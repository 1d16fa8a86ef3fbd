"""What watching costs: a watched batch against one that is not, and its share of a run at the defaults.

    python tests/benchmarks/watching.py [--seconds 30]

Three models: a tiny MLP, a small GPT, and a chain of many small operators. First batches are watched in turn with
others in one process; then a real fit of so many seconds with FlopWatch's defaults tells how many batches it watched
and how much longer these took than the others, as it keeps account of it itself.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import tempfile
import time
import warnings

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from flopwatch import FlopWatch
from flopwatch.lightning.counting import watcher as watching
from flopwatch.measure.watching import StepCounter


class Chain(nn.Module):
    """Three hundred operators on a few numbers."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 16)

    def forward(self, x):
        x = self.layer(x)
        for _ in range(150):
            x = x.sin() + 1
        return x


def gpt():
    layer = nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)


MODELS = {
    "tiny MLP": (lambda: nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4)), (8, 16)),
    "small GPT": (gpt, (4, 128, 256)),
    "300 small operators": (Chain, (8, 16)),
}


class Endless(IterableDataset):
    def __init__(self, shape):
        self.batch = torch.randn(shape)

    def __iter__(self):
        while True:
            yield self.batch


class Module(pl.LightningModule):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def training_step(self, batch, index):
        return self.net(batch).pow(2).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)


def milliseconds(make, shape, rounds):
    """Of a step that is not watched, and of one that is, in turn."""
    torch.manual_seed(0)
    model, batch = make(), torch.randn(shape)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    seconds = {False: [], True: []}
    for number in range(2 * rounds):
        watched, began = bool(number % 2), time.perf_counter()
        counter = StepCounter(model) if watched else None
        if counter is not None:
            counter.start()
        model(batch).pow(2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        if counter is not None:
            counter.stop()
        seconds[watched].append(time.perf_counter() - began)
    return [1000 * statistics.median(seconds[watched][2:]) for watched in (False, True)]


def shares(make, shape, seconds):
    """Batches of a fit, how many were watched, and the share of time that they took beyond the others."""
    watchers, original = [], watching.Watcher.__init__

    def keep(self, *arguments, **named):
        original(self, *arguments, **named)
        watchers.append(self)

    watching.Watcher.__init__ = keep
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            max_time={"seconds": seconds},
            callbacks=[FlopWatch(peak_flops_per_second=1e12, report=False)],
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        began = time.perf_counter()
        trainer.fit(Module(make()), DataLoader(Endless(shape), batch_size=None))
        taken = time.perf_counter() - began
    watching.Watcher.__init__ = original
    (watcher,) = watchers
    return watcher._batches, watcher._counts[True] + 1, watcher.extra_seconds() / taken


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    for name in ("pytorch_lightning", "flopwatch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, pytorch-lightning {pl.__version__}, Python {sys.version.split()[0]}\n")
    print("| model | ms not watched | ms watched | more | batches of a fit | watched | share of its time |")
    print("|---|---|---|---|---|---|---|")
    for name, (make, shape) in MODELS.items():
        plain, watched = milliseconds(make, shape, arguments.rounds)
        batches, seen, share = shares(make, shape, arguments.seconds)
        print(
            f"| {name} | {plain:.2f} | {watched:.2f} | {watched - plain:+.2f} | {batches:,} | {seen:,} | {share:.2%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
