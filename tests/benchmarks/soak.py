"""A long fit under every fault at random: does it end with the right totals, with memory, threads and files flat?

    PYTHONPATH=. python tests/benchmarks/soak.py [--steps 100000] [--seed 1] [--rounds 20]

A parent process runs the fit again and again until it reaches its last step. It kills it (SIGTERM or SIGKILL) after a
random time, makes the NVML driver fail or slow (the compiled fake, read through NVIDIA's binding), and fills and frees
the small file system (a tmpfs, where it may mount one) that the run file is on. Within the fit loggers fail and stall,
writes to the run file are slow, or do not answer for seconds, the wall clock jumps, and batches carry things that are
no tensors; each process finds the clock set by up to two hours, and each epoch another number of batches, which its
loader may overstate. The progress beside the run file is removed now and then. Weights are averaged (SWA), and there
are budgets of all kinds. Each process resumes from the last checkpoint, saved every 500 steps.

The judge is a ledger that the model keeps of its own steps, by hand arithmetic, and that travels in its checkpoints.

Before that, 20 attempts of one small run are killed, fail or are stopped, each of which goes on from any checkpoint
that there is: steps, FLOPs and time that were kept and lost must be all that the diaries of the attempts hold.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import pytorch_lightning as pl
import torch
import transformers
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, StochasticWeightAveraging
from pytorch_lightning.loggers.logger import DummyLogger

from flopwatch import FlopWatch, files
from flopwatch.hardware.nvml.lookup import Address
from flopwatch.lightning import devices
from flopwatch.lightning.session import session
from flopwatch.report.report import summarize
from flopwatch.run import appending, clock
from flopwatch.run.records import Device
from flopwatch.run.run_file import read_run
from tests.conftest import FakeDriver, compile_driver
from tests.lightning.attempts import check, rounds

H100 = "NVIDIA H100 80GB HBM3"
LENGTHS = (4, 8, 12, 16)
SEQUENCES = 2
# Of GPT-2 with a width of 8, 2 layers, 2 heads and 32 words, a token's products are, in multiply-adds: per layer
# 4 x 8 x 8 for attention and 2 x 8 x 32 for the MLP, 768; the head 8 x 32 = 256. A pair of tokens costs 2 x 8 in a
# layer. Training is three times the forward, a multiply-add two FLOPs.
TOKEN_FLOPS = 3 * 2 * (2 * 768 + 256)
PAIR_FLOPS = 3 * 2 * (2 * 2 * 8)
CHECKPOINT_EVERY = 500
WINDOW_STEPS = 50
BUDGETS = ["1M steps", "1e9 FLOPs", "1T tokens", "10K samples", "40 epochs", "1 h", "9 device-hours", "5 kWh", "$3"]
BRANCH_STEPS = 60
FUNCTIONS = (
    "nvmlDeviceGetClockInfo",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetTotalEnergyConsumption",
    "nvmlDeviceGetCurrentClocksEventReasons",
    "nvmlDeviceGetHandleByUUID",
    "nvmlInit_v2",
)


def flops_of(seq_len):
    return SEQUENCES * (TOKEN_FLOPS * seq_len + PAIR_FLOPS * (seq_len * (seq_len + 1) // 2))


# --- the fit, a process of its own ---


class World:
    """What goes wrong within the fit, by chance, and how often it did."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.faults = Counter()
        self.offset = 0.0

    def happens(self, fault, probability):
        happens = self.chance.random() < probability
        self.faults[fault] += happens
        return happens

    def install(self):
        """The clock is set and jumps, the disk is slow or silent, and the fake driver's GPU is the device."""
        real_time, append = time.time, appending.AppendedFile.append
        time.time = lambda: real_time() + self.offset
        clock._STARTED_AT += self.chance.uniform(-7200, 7200)

        def slow_append(file, line):
            if self.happens("slow writes", 0.02):
                time.sleep(0.5)
            if self.happens("silent disks", 0.005):
                time.sleep(self.chance.uniform(3, 8))
            append(file, line)

        appending.AppendedFile.append = slow_append
        devices.describe_device = lambda device, count, precision, chips=(): devices.with_datasheet_peak(
            Device(H100, count, sm_count=132, uuid="cafe"), devices.Precision("bf16"), chips
        )
        session.address_of = lambda device: Address(H100, uuid="cafe")


class Untouchable:
    """Raises, whatever is asked of it."""

    def __getattribute__(self, name):
        if name == "__class__":
            return Untouchable
        raise RuntimeError("not to be looked at")


class Batches(torch.utils.data.IterableDataset):
    """Sequences of several lengths, beside things that are no tensors; now and then fewer than it says."""

    JUNK = (None, "words", [], {"deep": [[]]}, Untouchable(), float("nan"), 10**400, b"\0", object, lambda: 0)

    def __init__(self, chance):
        self.chance, self.batches = chance, chance.randint(100, 900)
        self.missing = chance.choice((0, 0, 50))

    def __len__(self):
        return self.batches

    def __iter__(self):
        for _ in range(self.batches - self.missing):
            ids = torch.randint(32, (SEQUENCES, self.chance.choice(LENGTHS)))
            junk = self.chance.choice(self.JUNK)
            yield {"input_ids": ids, "labels": ids, "junk": junk, 7: self.chance.choice(self.JUNK)}


class Data(pl.LightningDataModule):
    """A loader of another length in each epoch."""

    def __init__(self, chance):
        super().__init__()
        self.chance = chance

    def train_dataloader(self):
        return torch.utils.data.DataLoader(Batches(self.chance), batch_size=None, collate_fn=lambda batch: batch)


class Ledger(pl.LightningModule):
    """A small GPT-2 that writes down what it was fed."""

    def __init__(self):
        super().__init__()
        config = transformers.GPT2Config(vocab_size=32, n_positions=32, n_embd=8, n_layer=2, n_head=2)
        self.model = transformers.GPT2LMHeadModel(config)
        self.ledger = {"steps": 0, "samples": 0, "tokens": 0, "flops": 0}

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        return batch

    def training_step(self, batch, index):
        seq_len = batch["input_ids"].shape[1]
        self.ledger["steps"] += 1
        self.ledger["samples"] += SEQUENCES
        self.ledger["tokens"] += SEQUENCES * seq_len
        self.ledger["flops"] += flops_of(seq_len)
        return self.model(batch["input_ids"], labels=batch["labels"], use_cache=False).loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)

    def on_save_checkpoint(self, checkpoint):
        checkpoint["ledger"] = dict(self.ledger)

    def on_load_checkpoint(self, checkpoint):
        self.ledger = checkpoint["ledger"]


class Flaky(DummyLogger):
    """Fails twice in a row at most, and stalls now and then."""

    def __init__(self, world):
        super().__init__()
        self.world, self.failures = world, 0

    def log_metrics(self, metrics, step=None):
        if self.failures < 2 and self.world.happens("logger errors", 0.1):
            self.failures += 1
            raise ConnectionResetError("the service is gone")
        self.failures = 0
        if self.world.happens("slow loggers", 0.01):
            time.sleep(0.05)


class Vitals(Callback):
    """Memory, threads and open files every thousand steps, and the jumps of the clock."""

    def __init__(self, world, keep):
        self.world, self.keep, self.rows = world, keep, []

    def on_train_batch_end(self, trainer, module, *_):
        if self.world.happens("clock jumps", 1e-3):
            self.world.offset += self.world.chance.uniform(-7200, 7200)
        if trainer.global_step % 1000 == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            memory = round(pages * resource.getpagesize() / 2**20, 1)
            files = len(list(Path("/proc/self/fd").iterdir()))
            self.rows.append((trainer.global_step, memory, threading.active_count(), files))
            self.keep()


def fit(folder, disk, steps, seed):
    """Train from the last checkpoint to the end, or until killed, and write down how it went."""
    torch.set_num_threads(1)
    world, module = World(seed), Ledger()
    world.install()

    def keep():
        result = {"faults": world.faults, "vitals": vitals.rows, "ledger": module.ledger, "state": watch.state_dict()}
        files.replace_text(folder / f"result-{seed}.json", json.dumps(result))

    vitals = Vitals(world, keep)
    saving = ModelCheckpoint(folder, every_n_train_steps=CHECKPOINT_EVERY, save_last=True, save_top_k=0)
    averaging = StochasticWeightAveraging(1e-3, swa_epoch_start=2)
    watch = FlopWatch(BUDGETS, usd_per_device_hour=2.0, every_n_steps=WINDOW_STEPS, dirpath=disk, report=False)
    trainer = pl.Trainer(
        max_steps=steps,
        max_epochs=10**6,
        reload_dataloaders_every_n_epochs=1,
        accelerator="cpu",
        devices=1,
        logger=[Flaky(world)],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=WINDOW_STEPS,
        default_root_dir=folder,
        callbacks=[watch, saving, averaging, vitals],
    )
    last = folder / "last.ckpt"
    try:
        trainer.fit(module, datamodule=Data(world.chance), ckpt_path=last if last.exists() else None)
    finally:
        keep()


# --- the parent ---


@contextlib.contextmanager
def small_disk(folder):
    """A file system of 8 MiB, where one may be mounted."""
    folder.mkdir()
    mounted = (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", folder], capture_output=True).returncode == 0
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", folder], check=True)


def disturb(driver, disk, mounted, chance, faults, near_the_end):
    """One change of the world beside the fit."""
    kind = chance.choice(("nvml error", "slow nvml", "healthy nvml", "full disk", "removed progress"))
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    if kind == "nvml error":
        failing = {f"error.{name}": chance.choice((3, 9, 15, 999)) for name in chance.sample(FUNCTIONS, 2)}
        driver.set(uuid="GPU-cafe", **failing)
    elif kind == "slow nvml":
        driver.set(uuid="GPU-cafe", delay_us=chance.choice((1000, 300_000)))
    elif kind == "healthy nvml":
        driver.set(uuid="GPU-cafe", sm_clock=chance.choice((1200, 1980)), reasons=chance.choice((0, 4, 64)))
    elif kind == "full disk" and mounted and not near_the_end:
        with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
    elif kind == "removed progress":
        for progress in disk.glob("run*.progress"):
            progress.unlink(missing_ok=True)
    faults[kind] += 1


def attempt(command, environment, change, chance, most_seconds, log):
    """Run the fit until it ends or, after a random time, is killed; returns its exit status."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    until = time.monotonic() + chance.uniform(min(15, most_seconds / 2), most_seconds)
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.5)
        change()
    if process.poll() is None:
        process.send_signal(chance.choice((signal.SIGTERM, signal.SIGKILL)))
    return process.wait(timeout=120)


def soak(folder, steps, seed, most_seconds):
    chance, faults, statuses = random.Random(seed), Counter(), []
    library = folder / "nvml"
    library.mkdir()
    driver = FakeDriver(compile_driver(library), folder)
    driver.set(uuid="GPU-cafe")
    environment = {**os.environ, **driver.environment(), "FAKE_NVML_LOG": ""}
    disk = folder / "disk"
    with small_disk(disk) as mounted:
        started = time.monotonic()
        while steps_done(folder) < steps or statuses[-1] != 0:
            seed += 1
            (disk / "filler").unlink(missing_ok=True)
            arguments = (folder, disk, steps, seed)
            command = [sys.executable, __file__, "--child", *map(str, arguments)]

            def change():
                # A disk that is still full at the very end costs the file its end, as it should.
                disturb(driver, disk, mounted, chance, faults, steps_done(folder) >= steps - 1000)

            statuses.append(attempt(command, environment, change, chance, most_seconds, folder / "log"))
            if statuses[-1] == 1:
                raise SystemExit((folder / "log").read_text()[-4000:])
        seconds = time.monotonic() - started
        report = summarize(read_run(disk))
    tell(results_of(folder), report, statuses, faults, mounted, seconds, (folder / "log").read_text())


def results_of(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.glob("result-*.json"))]


def steps_done(folder):
    return max((each["ledger"]["steps"] for each in results_of(folder)), default=0)


def tell(results, report, statuses, faults, mounted, seconds, log):
    last = max(results, key=lambda each: each["ledger"]["steps"])
    for each in results:
        faults.update(each["faults"])
    killed = sum(status == -signal.SIGKILL for status in statuses)
    ended = f"{killed} ended by SIGKILL, {len(statuses) - killed - 1} by SIGTERM, 1 finished"
    print(f"{len(statuses)} processes in {seconds:,.0f} s: {ended}")
    print("faults: " + ", ".join(f"{count} {name}" for name, count in sorted(faults.items())))
    print("small disk: " + ("a tmpfs of 8 MiB" if mounted else "could not be mounted, left out"))
    print(f"{'':8} {'ledger':>20} {'checkpoint':>20} {'report':>20}")
    agree = True
    for key, expected in last["ledger"].items():
        values = expected, last["state"]["totals"][key], getattr(report.totals.counts, key)
        agree &= len(set(values)) == 1
        print(f"{key:8} " + " ".join(f"{value:20,}" for value in values))
    longest = max(results, key=lambda each: len(each["vitals"]))["vitals"]
    print(f"{'at step':>10} {'memory MiB':>11} {'threads':>8} {'files':>6}   (of the process that ran longest)")
    for step, memory, threads, handles in longest[:: max(len(longest) // 8, 1)]:
        print(f"{step:10,} {memory:11} {threads:8} {handles:6}")
    print(f"tracebacks: {log.count('Traceback')}, of ours: {log.count('flopwatch stopped measuring')}")
    print("TOTALS AGREE" if agree else "TOTALS DIFFER")
    lost = "unknown" if report.totals.lost_steps is None else f"{report.totals.lost_steps:,}"
    balance = abs(sum(report.seconds.values()) - report.wall_seconds) < 0.1 and 0 < report.goodput < 1
    print(f"lost steps: {lost}, goodput {report.goodput:.3f} of {report.wall_seconds:,.0f} s, which balance: {balance}")
    print("notes: " + "; ".join(report.notes))
    if not agree or not balance or "flopwatch stopped measuring" in log:
        raise SystemExit(1)


def branches(folder, count, seed):
    done, began, totals = rounds(folder, count, BRANCH_STEPS, random.Random(seed))
    steps, batches = sum(each.until - each.since for each in done), sum(each.batches for each in done)
    print(f"{len(done)} attempts did {steps} steps, {batches} batches, {sum(each.seconds for each in done):.1f} s:")
    print(
        f"{totals.counts.steps} steps kept and {totals.lost_steps} lost,"
        f" {began.lost_steps} of them before the last attempt"
    )
    print(f"{totals.counts.flops:,} FLOPs kept and {totals.lost_flops:,} lost, {totals.seconds:.1f} s")
    check(done, totals, BRANCH_STEPS, BRANCH_STEPS)
    print("KEPT AND LOST ARE ALL THAT WAS DONE")


def main():
    if sys.argv[1:2] == ["--child"]:
        folder, disk, steps, seed = sys.argv[2:]
        fit(Path(folder), Path(disk), int(steps), int(seed))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--most-seconds", type=float, default=90, help="a process is killed after so many seconds at most"
    )
    parser.add_argument("--rounds", type=int, default=20, help="attempts of a run that is rolled back again and again")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        branches(Path(folder) / "branches", arguments.rounds, arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        soak(Path(folder), arguments.steps, arguments.seed, arguments.most_seconds)


if __name__ == "__main__":
    main()
