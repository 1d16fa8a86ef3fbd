"""Real processes over gloo."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch.distributed as dist

from flopwatch.lightning.ranks import _digits, _number, all_arrive
from flopwatch.runfile import read_run
from tests.lightning.models import FLOPS_PER_BATCH, TOKENS_PER_BATCH

ROOT = str(Path(__file__).parents[2])
DDP = f"""
import sys
sys.path.insert(0, {ROOT!r})
from pytorch_lightning.callbacks import ModelCheckpoint
from flopwatch import FlopWatch
from tests.lightning.models import TinyGPT, loader, trainer
folder, checkpoint = sys.argv[1], (sys.argv[2:] or [None])[0]
if __name__ == "__main__":
    watch = FlopWatch(peak_flops_per_second=1e9, every_n_steps=3)
    saving = ModelCheckpoint(folder, every_n_train_steps=4, save_top_k=-1, filename="{{step}}")
    one = trainer(folder, watch, saving, devices=2, strategy="ddp", max_steps=6 if checkpoint is None else 8,
                  enable_checkpointing=True)
    one.fit(TinyGPT(), loader(), ckpt_path=checkpoint)
"""


@pytest.fixture
def ddp(tmp_path, python):
    """Run two DDP processes; Lightning starts the second one from the script's file."""
    (tmp_path / "main.py").write_text(DDP)

    def run(folder, *arguments):
        script = f"import runpy, sys; sys.argv = {['main.py', str(folder), *map(str, arguments)]!r}; "
        script += (
            f"sys.exit(__import__('subprocess').call([sys.executable, {str(tmp_path / 'main.py')!r}, *sys.argv[1:]]))"
        )
        result = python(script, timeout=240)
        assert result.returncode == 0, result.stderr
        return result

    return run


def test_two_processes_count_both_ranks_work_once_and_resume(ddp, tmp_path):
    result = ddp(tmp_path / "a")
    (path,) = tmp_path.rglob("run.jsonl")
    (segment,) = read_run(path).segments
    assert segment.start.device.count == 2
    # Both ranks do six steps of one batch each.
    assert segment.end.totals.flops == 2 * 6 * FLOPS_PER_BATCH
    assert segment.end.totals.tokens == 2 * 6 * TOKENS_PER_BATCH
    assert (segment.end.totals.steps, segment.end.totals.batches) == (6, 6)
    assert [window.step for window in segment.windows] == [1, 3, 6]
    last = segment.windows[-1]
    assert last.flops == 2 * 3 * FLOPS_PER_BATCH
    assert "stopped measuring" not in result.stderr
    # A checkpoint in the middle of a window holds both ranks' work; the resumed run goes on from it.
    ddp(tmp_path / "b", tmp_path / "a" / "step=4.ckpt")
    resumed = read_run(tmp_path / "b").segments[-1]
    assert resumed.start.totals.flops == 2 * 4 * FLOPS_PER_BATCH
    assert resumed.end.totals.flops == 2 * 8 * FLOPS_PER_BATCH


FAILING = DDP.replace(
    "folder, checkpoint =",
    """import os
from flopwatch.lightning.session import Session
def fail(self):
    raise RuntimeError("broken on purpose")
if os.environ.get("LOCAL_RANK") == "1":
    Session.batch_started = fail
folder, checkpoint =""",
)


def test_a_rank_where_flopwatch_fails_holds_nobody_up(tmp_path, python):
    (tmp_path / "main.py").write_text(FAILING)
    started = time.monotonic()
    command = f"[sys.executable, {str(tmp_path / 'main.py')!r}, {str(tmp_path)!r}]"
    result = python(f"import subprocess, sys; sys.exit(subprocess.call({command}))", timeout=240)
    assert result.returncode == 0, result.stderr
    # Waiting in vain for the other rank would take two minutes.
    assert time.monotonic() - started < 100
    (segment,) = read_run(tmp_path).segments
    assert (segment.end.status, segment.end.step) == ("finished", 6)
    assert segment.end.totals.flops is None
    assert "flopwatch failed on another rank; totals are unknown from here on" in result.stderr


def arrivals(delays, seconds, world_size):
    """What each rank is told, when it comes after its delay."""
    store = dist.HashStore()

    def rank(delay):
        time.sleep(delay)
        return all_arrive(store, "flopwatch/0", world_size, seconds)

    with ThreadPoolExecutor(len(delays)) as pool:
        return list(pool.map(rank, delays))


def test_all_ranks_find_each_other():
    assert arrivals([0.0, 0.3, 0.1, 0.0], 20.0, 4) == [True] * 4


def test_a_missing_rank_holds_nobody_up():
    assert arrivals([0.0, 0.1, 0.0], 0.5, 4) == [False] * 3


def test_a_rank_that_comes_too_late_agrees_with_those_that_gave_up():
    assert arrivals([0.0, 1.5], 0.3, 2) == [False, False]


@pytest.mark.parametrize("amount", [0, 1, 2**30 - 1, 2**30, 10**25, 2**120 - 1])
def test_large_amounts_travel_exactly(amount):
    digits = _digits(amount)
    assert _number(digits) == amount
    # Summed over 16,384 ranks no digit overflows 64 bits, and the sum is exact.
    assert all(digit * 16_384 < 2**63 for digit in digits)
    assert _number([digit * 16_384 for digit in digits]) == 16_384 * amount
