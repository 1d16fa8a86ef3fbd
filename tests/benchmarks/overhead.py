"""Thread CPU time per training step that a callback adds, against an empty callback, and whether it grows.

    python tests/benchmarks/overhead.py [--steps 5000] [--rounds 15]
    pip install traceml-ai; python tests/benchmarks/overhead.py --traceml [--steps 5000] [--rounds 5]
    python tests/benchmarks/overhead.py --long 200000

Compared are FlopWatch (with its default window of ten seconds and with one every 50 steps, all keys, a logger that
keeps nothing), Lightning's ThroughputMonitor and DeviceStatsMonitor every 50 steps, an empty callback and none. Every
round runs all of them, in another order; what a callback adds is the median over the rounds of its difference to the
empty one of the same round, and the interval is the middle half of them. Machines are noisy: read no more into it.

`--traceml` compares with TraceML, which replaces methods of torch for a whole process and runs under a command of its
own: so every variant of every round has a process to itself.

`--long` runs FlopWatch alone, a window every 50 steps, and prints memory and time per step of every tenth of the run.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import logging
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, DeviceStatsMonitor, ThroughputMonitor
from pytorch_lightning.loggers.logger import DummyLogger

from flopwatch import FlopWatch

EVERY_N_STEPS = 50


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

    def __init__(self, at_step=None):
        super().__init__()
        self.at_step = at_step
        self.embedding = torch.nn.Embedding(16, 4)
        self.out = torch.nn.Linear(4, 4)
        self.cpu_seconds = []

    def training_step(self, batch, index):
        if self.at_step is None:
            self.cpu_seconds.append(time.thread_time())
        else:
            self.at_step(index)
        return self.out(self.embedding(batch[0])).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def watch(folder, every_n_steps=None):
    return FlopWatch(peak_flops_per_second=1e9, every_n_steps=every_n_steps, dirpath=folder, report=False)


VARIANTS = {
    "none": lambda folder: None,
    "empty callback": lambda folder: Empty(),
    "FlopWatch, every 10 s": watch,
    "FlopWatch, 50 steps": lambda folder: watch(folder, EVERY_N_STEPS),
    "ThroughputMonitor": lambda folder: ThroughputMonitor(
        batch_size_fn=lambda batch: 2, length_fn=lambda batch: 16, window_size=EVERY_N_STEPS
    ),
    "DeviceStatsMonitor": lambda folder: DeviceStatsMonitor(cpu_stats=True),
}


def traceml(folder):
    from traceml_ai.integrations.lightning import TraceMLCallback, init

    init()
    return TraceMLCallback()


def fit(make, steps, at_step=None):
    """Run a fit; returns the CPU seconds of its thread at each step."""
    with tempfile.TemporaryDirectory() as folder:
        callback = make(folder)
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
            callbacks=[] if callback is None else [callback],
        )
        module = Tiny(at_step)
        rows = torch.zeros(steps, 8, dtype=torch.long)
        data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(rows, rows), batch_size=1)
        trainer.fit(module, data)
    return module.cpu_seconds


def microseconds_per_step(make, steps):
    """Mean over the last four fifths of the steps: watching at the start has come to its end by then."""
    seconds = fit(make, steps)[steps // 5 :]
    return 1e6 * (seconds[-1] - seconds[0]) / (len(seconds) - 1)


def in_a_process(name, steps):
    """As `microseconds_per_step`, in a process that has nothing else to do."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["traceml", "run", "--logs-dir", folder] if name == "TraceML" else [sys.executable]
        arguments = ["--args"] if name == "TraceML" else []
        command += [__file__, *arguments, "--one", name, "--steps", str(steps)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(re.search(r"^us/step (\S+)$", done.stdout, re.M)[1])


def compare(variants, steps, rounds, measure):
    measured = {name: [] for name in variants}
    order = list(variants)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            measured[name].append(measure(name, steps))
    print(f"torch {torch.__version__}, pytorch-lightning {pl.__version__}, {rounds} x {steps} steps")
    print(f"{'callback':22} {'us/step':>8} {'above empty':>12}  middle half")
    for name, values in measured.items():
        above = [value - empty for value, empty in zip(values, measured["empty callback"], strict=True)]
        low, _, high = statistics.quantiles(above, n=4)
        print(
            f"{name:22} {statistics.median(values):8.1f} {statistics.median(above):+12.1f}  {low:+.1f} to {high:+.1f}"
        )


def here(name, steps):
    return microseconds_per_step(traceml if name == "TraceML" else VARIANTS[name], steps)


def run_long(steps):
    part = steps // 10
    marks = []

    def look(step):
        if step % part == 0 or step == steps - 1:
            gc.collect()
            marks.append((step, resident_mib(), time.thread_time()))

    fit(lambda folder: watch(folder, EVERY_N_STEPS), steps, look)
    print(f"{'from step':>10} {'us/step':>8} {'memory MiB':>11}")
    for (step, _, before), (end, memory, after) in itertools.pairwise(marks):
        print(f"{step:10,} {1e6 * (after - before) / (end - step):8.1f} {memory:11.2f}")
    print(f"most memory ever: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.1f} MiB")


def resident_mib():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--traceml", action="store_true", help="compare with TraceML, every variant in its own process")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--long", type=int, help="run FlopWatch alone for so many steps")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    for name in ("pytorch_lightning", "lightning.pytorch", "flopwatch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("flopwatch").addHandler(logging.NullHandler())
    torch.set_num_threads(1)
    if arguments.one:
        print("us/step", here(arguments.one, arguments.steps))
    elif arguments.long:
        run_long(arguments.long)
    elif arguments.traceml:
        variants = ["empty callback", "FlopWatch, every 10 s", "ThroughputMonitor", "TraceML"]
        compare(variants, arguments.steps, arguments.rounds, in_a_process)
    else:
        compare(VARIANTS, arguments.steps, arguments.rounds, here)


if __name__ == "__main__":
    main()
