"""A fit whose clocks come through NVIDIA's real binding from the fake driver; only the CUDA device is stood in for."""

import json
from pathlib import Path

import pytest

from flopwatch.runfile import read_run

ROOT = str(Path(__file__).parents[2])
FIT = f"""
import functools, os, sys, threading, time
sys.path.insert(0, {ROOT!r})
from dataclasses import replace
from flopwatch import FlopWatch
from flopwatch.lightning import devices, session
from flopwatch.records import Device
from flopwatch.sampler import ClockSampler
from tests.lightning.models import MemoryLogger, TinyGPT, loader, trainer

def h100(device, count, dtype):
    found = Device("NVIDIA H100 80GB HBM3", count, "bf16", sm_count=132, uuid="cafe", driver=devices._driver())
    return devices.with_datasheet_peak(found)

devices.describe_device = h100
session.ClockSampler = functools.partial(ClockSampler, interval_seconds=0.02)

def at_batch(index):
    time.sleep(0.02)
    if index == 40:
        open(os.environ["FAKE_NVML_STATE"], "w").write(sys.argv[2].replace(";", chr(10)) + chr(10))

logger = MemoryLogger()
trainer(sys.argv[1], FlopWatch(every_n_steps=20), max_steps=100, logger=logger).fit(TinyGPT(at_batch), loader())
import json
print(json.dumps([threading.get_native_id(), logger.ours()]))
"""


@pytest.fixture
def fit(python, fake_driver, tmp_path):
    def run(then):
        fake_driver.set(uuid="GPU-cafe", sm_clock=1980)
        result = python(FIT, tmp_path / "run", then, environment=fake_driver.environment())
        assert result.returncode == 0, result.stderr
        thread, rows = json.loads(result.stdout.splitlines()[-1])
        return thread, [row for _, row in rows], read_run(tmp_path / "run").segments[0], result.stderr

    return run


def test_the_clock_drop_is_seen_and_mfu_at_clock_follows_it(fit, fake_driver):
    thread, rows, segment, _ = fit("uuid=GPU-cafe;sm_clock=1500")
    assert segment.start.device.peak_flops_per_second == 989.4e12
    assert segment.start.device.driver == "580.95.05"
    before, after = rows[0], rows[-1]
    assert (before["gpu/sm_clock_mhz"], after["gpu/sm_clock_mhz"]) == (1980.0, 1500.0)
    # At 1980 MHz the device could do 540,672 x 1.98e9 = 1070.5 TFLOP/s, at 1500 MHz 811.0: datasheet 989.4.
    assert before["perf/mfu_at_clock"] / before["perf/mfu"] == pytest.approx(989.4e12 / (540_672 * 1.98e9))
    assert after["perf/mfu_at_clock"] / after["perf/mfu"] == pytest.approx(989.4e12 / (540_672 * 1.5e9))
    assert segment.windows[-1].clock_samples >= 3
    # Once training runs, the training thread never asks the driver.
    calls = fake_driver.calls()
    first_clock = next(index for index, call in enumerate(calls) if call[1] == "nvmlDeviceGetClockInfo")
    assert {int(called_by) for called_by, _ in calls[first_clock:]}.isdisjoint({thread})


def test_a_gpu_lost_in_the_middle_costs_the_clocks_alone(fit):
    _, rows, segment, errors = fit("uuid=GPU-cafe;error.nvmlDeviceGetClockInfo=15")
    assert "gpu/sm_clock_mhz" in rows[0]
    assert "gpu/sm_clock_mhz" not in rows[-1]
    assert "perf/mfu_at_clock" not in rows[-1]
    assert "perf/mfu" in rows[-1]
    assert segment.end.status == "finished"
    assert errors.count("GPU clocks are not read any more") == 1


def test_a_hanging_driver_does_not_hold_up_training(fit):
    _, rows, segment, _ = fit("uuid=GPU-cafe;delay_us=30000000")
    assert segment.end.status == "finished"
    assert segment.end.totals.steps == 100
    assert rows
