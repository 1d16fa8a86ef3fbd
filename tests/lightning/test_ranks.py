"""Real processes over gloo."""

import time
from pathlib import Path

import pytest

from flopwatch.run.run_file import read_run
from tests.lightning.models import FLOPS_PER_BATCH, TOKENS_PER_BATCH

pytestmark = pytest.mark.slow

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
    assert segment.end.totals.counts.flops == 2 * 6 * FLOPS_PER_BATCH
    assert segment.end.totals.counts.tokens == 2 * 6 * TOKENS_PER_BATCH
    assert (segment.end.totals.counts.steps, segment.end.totals.counts.batches) == (6, 6)
    assert [window.step for window in segment.windows] == [1, 3, 6]
    last = segment.windows[-1]
    assert last.counts.flops == 2 * 3 * FLOPS_PER_BATCH
    assert "stopped measuring" not in result.stderr
    # A checkpoint in the middle of a window holds both ranks' work; the resumed run goes on from it.
    ddp(tmp_path / "b", tmp_path / "a" / "step=4.ckpt")
    resumed = read_run(tmp_path / "b").segments[-1]
    assert resumed.start.totals.counts.flops == 2 * 4 * FLOPS_PER_BATCH
    assert resumed.end.totals.counts.flops == 2 * 8 * FLOPS_PER_BATCH


FAILING = DDP.replace(
    "folder, checkpoint =",
    """import os
from flopwatch.lightning.session.session import Session
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
    assert time.monotonic() - started < 60
    (segment,) = read_run(tmp_path).segments
    assert (segment.end.status, segment.end.step) == ("finished", 6)
    assert segment.end.totals.counts.flops is None
    assert "totals over all ranks are unknown: rank 1 failed in flopwatch" in result.stderr


GPUS = DDP.replace(
    "folder, checkpoint =",
    """import functools, os, time, torch
from flopwatch.lightning import devices, hardware
from flopwatch.lightning.session import session
from flopwatch.hardware.nvml.lookup import Address
from flopwatch.run.records import Device
from flopwatch.hardware.sampler import Sampler
NAME, rank = "NVIDIA H100 80GB HBM3", int(os.environ.get("LOCAL_RANK", "0"))
uuid = os.environ["UUIDS"].split(",")[rank]
def h100(device, count, precision, chips=()):
    return devices.with_datasheet_peak(Device(NAME, count, sm_count=132, uuid=uuid), devices.Precision("bf16"), chips)
devices.describe_device = h100
session.address_of = lambda device: Address(NAME, uuid=uuid)
hardware.Sampler = functools.partial(Sampler, interval_seconds=0.02)
folder, checkpoint =""",
).replace("one.fit(TinyGPT()", "one.fit(TinyGPT(lambda index: time.sleep(0.2))")


@pytest.mark.parametrize(
    ("uuids", "watts"),
    [
        # Two GPUs of 700 and 500 W, and then two ranks that share the first one.
        ("aaaa,bbbb", 1200.0),
        ("aaaa,aaaa", 700.0),
        ("aaaa,cccc", None),
    ],
)
def test_gpus_are_averaged_over_ranks_and_each_ones_energy_is_counted_once(tmp_path, python, fake_driver, uuids, watts):
    gpus = {"uuid__0": "GPU-aaaa", "uuid__1": "GPU-bbbb", "sm_clock__0": 1980, "sm_clock__1": 1500}
    fake_driver.set(count=2, power_mw__0=700_000, power_mw__1=500_000, reasons__1=4, **gpus)
    (tmp_path / "main.py").write_text(GPUS)
    command = f"[sys.executable, {str(tmp_path / 'main.py')!r}, {str(tmp_path)!r}]"
    environment = {**fake_driver.environment(), "UUIDS": uuids}
    result = python(
        f"import subprocess, sys; sys.exit(subprocess.call({command}))", timeout=240, environment=environment
    )
    assert result.returncode == 0, result.stderr
    (segment,) = read_run(tmp_path).segments
    window = segment.windows[-1]
    if watts is None:
        # The second rank's GPU is not to be found: clocks and energy of the run are not known, and that is said.
        assert (window.sm_clock_hz, window.power_watts, segment.end.totals.joules) == (None, None, None)
        assert "rank 1: GPU readings ended" in result.stderr
        assert "another rank's GPU is not being read" in segment.events[0].message
        return
    shared = uuids == "aaaa,aaaa"
    assert window.sm_clock_hz == (1980e6 if shared else 1740e6)
    assert window.sm_clock_hz_min == (1980e6 if shared else 1500e6)
    assert window.throttled_frac == pytest.approx(0.0 if shared else 0.5, abs=0.03)
    assert window.clock_samples >= 3
    assert window.power_watts == pytest.approx(watts, rel=0.03)
    assert segment.end.totals.joules > 0.5 * watts
