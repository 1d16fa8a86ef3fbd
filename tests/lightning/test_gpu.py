"""Fits whose GPU is the fake driver's, read through NVIDIA's real binding; only the CUDA device is stood in for.

Time of the training loop is simulated, so that rates come out exactly: a batch takes as long as the clock makes it. The
driver is read in real time meanwhile, so no other test may run beside these.
"""

import json
from pathlib import Path

import pytest

from flopwatch.report.report import summarize
from flopwatch.run.run_file import read_run

SCRIPTS = Path(__file__).parent / "scripts"
pytestmark = [pytest.mark.alone, pytest.mark.slow]


@pytest.fixture
def fit(python, fake_driver, tmp_path):
    def run(then=None, at=50, steps=100, step=0.02, state=None, silence=10.0):
        fake_driver.set(**{"uuid": "GPU-cafe", "sm_clock": 1980, **(state or {})})
        options = {"then": then or {}, "at": at if then else -1, "steps": steps, "step": step, "silence": silence}
        options = json.dumps(options)
        result = python(
            SCRIPTS / "train_on_fake_gpu.py", tmp_path / "run", options, environment=fake_driver.environment()
        )
        assert result.returncode == 0, result.stderr
        thread, rows, seconds = json.loads(result.stdout.splitlines()[-1])
        return thread, [row for _, row in rows], read_run(tmp_path / "run"), result.stderr, seconds

    return run


def test_a_power_cap_is_told_from_slow_code(fit, fake_driver):
    thread, rows, run, errors, _ = fit({"sm_clock": 1500, "reasons": 4, "power_mw": 500_000}, step=0.04)
    before, dropping, after = rows[0], rows[2], rows[-1]
    assert (before["gpu/sm_clock_mhz"], after["gpu/sm_clock_mhz"]) == (1980.0, 1500.0)
    # Batches take 1980/1500 as long: MFU falls by as much, and against the clock that was run it stays.
    assert after["perf/mfu"] / before["perf/mfu"] == pytest.approx(1500 / 1980, rel=1e-3)
    assert after["perf/mfu_at_clock"] == pytest.approx(before["perf/mfu_at_clock"], rel=0.01)
    # At 1980 MHz the device could do 540,672 x 1.98e9 = 1070.5 TFLOP/s: datasheet 989.4.
    assert before["perf/mfu_at_clock"] / before["perf/mfu"] == pytest.approx(989.4e12 / (540_672 * 1.98e9))
    # The window of steps 41 to 60 ran its second half capped, which took 1.32 of 2.32.
    assert (before["gpu/throttled_frac"], after["gpu/throttled_frac"]) == (0.0, pytest.approx(1, abs=0.05))
    assert dropping["gpu/throttled_frac"] == pytest.approx(1.32 / 2.32, abs=0.05)
    # 700 W for 20 steps of 0.04 s and 32 tokens: 560 J / 640 tokens; then 500 W x 1.056 s / 640.
    assert before["gpu/joules_per_token"] == pytest.approx(0.875, rel=0.02)
    assert after["gpu/joules_per_token"] == pytest.approx(0.825, rel=0.02)
    assert errors.count("training continues") == 0

    report = summarize(run)
    assert report.hardware.energy_source == "the driver's counter"
    assert report.throttled["power_cap"] == report.throttled_frac
    # 700 W for 49 steps of 0.04 s, then 500 W for 51 of 0.0528 s: 2,719 J; what Lightning takes beside has no bound.
    assert report.totals.joules > 2_650
    assert rows[-1]["budget/kwh"] == pytest.approx(run.segments[0].windows[-1].totals.joules / 3.6e6)
    assert report.tensor_active == pytest.approx(0.4)
    # 40% of cycles at the mean clock, against the datasheet's 1830 MHz.
    # One is a mean by time, the other by samples: on a busy machine not quite the same.
    assert report.tensor_mfu == pytest.approx(0.4 * report.sm_clock_hz / 1830e6, rel=0.05)
    # The training thread never asks the driver.
    assert {int(called_by) for called_by, _ in fake_driver.calls()}.isdisjoint({thread})


def messages(errors):
    return [line for line in errors.splitlines() if "training continues" in line]


@pytest.mark.parametrize(
    ("then", "said", "kept"),
    [
        ({"error.nvmlDeviceGetClockInfo": 15}, "GPU readings ended: .* GPU is lost", False),
        ({"error.nvmlDeviceGetUtilizationRates": 1}, "GPU readings ended: .* Uninitialized", False),
        ({"hang.nvmlDeviceGetClockInfo": 1}, "the NVIDIA driver does not respond", False),
        ({"error.nvmlDeviceGetClockInfo": 999}, "SM clock cannot be read at the moment: Unknown Error", True),
    ],
)
def test_what_is_lost_in_the_middle_is_said_once_with_the_step(fit, then, said, kept):
    import re

    _, rows, run, errors, _ = fit(then, steps=140, silence=0.5)
    (segment,) = run.segments
    assert (segment.end.status, segment.end.totals.counts.steps) == ("finished", 140)
    assert "gpu/sm_clock_mhz" in rows[0]
    assert "gpu/sm_clock_mhz" not in rows[-1]
    assert "perf/mfu_at_clock" not in rows[-1]
    assert "perf/mfu" in rows[-1]
    # Energy that nobody counted is not known, whatever was counted before.
    assert ("budget/kwh" in rows[-1]) is kept
    assert (segment.end.totals.joules is not None) is kept
    (message,) = messages(errors)
    assert re.search(said, message)
    (event,) = segment.events
    assert re.search(rf"since step \d+: {said}", event.message)
    assert 50 < int(re.search(r"step (\d+)", event.message)[1]) <= 140


def test_what_may_not_be_read_is_said_once(fit):
    _, rows, run, errors, _ = fit(state={"error.nvmlDeviceGetClockInfo": 4, "error.nvmlGpmSampleGet": 4})
    (message,) = messages(errors)
    assert "SM clock cannot be read: Insufficient Permissions" in message
    assert "gpu/sm_clock_mhz" not in rows[-1]
    assert "gpu/throttled_frac" in rows[-1]
    report = summarize(run)
    assert (report.tensor_active, report.mfu_at_clock) == (None, None)
    assert report.hardware.readable["tensor activity"] == "Insufficient Permissions"


def test_slow_calls_do_not_slow_training(fit):
    *_, quick = fit(step=0.02)
    _, rows, slow_run, errors, slow = fit(step=0.02, state={"delay_us": 50_000})
    # A hundred steps beside seven calls of 50 ms in every reading: on the training thread they would be 35 s.
    assert slow < quick + 5
    assert slow_run.segments[0].end.status == "finished"
    (message,) = messages(errors)
    assert "ms for one reading (SM clock, throttle reasons" in message
    assert rows


def test_without_a_driver_there_is_one_message(python, tmp_path):
    options = json.dumps({"then": {}, "at": -1, "steps": 60, "step": 0.005, "silence": 10.0})
    result = python(SCRIPTS / "train_on_fake_gpu.py", tmp_path / "run", options)
    assert result.returncode == 0, result.stderr
    (message,) = messages(result.stderr)
    assert "the NVIDIA driver did not respond" in message
    assert read_run(tmp_path / "run").segments[0].end.totals.joules is None


def test_a_hanging_driver_does_not_hold_up_training(fit):
    _, rows, run, errors, seconds = fit(state={"hang.nvmlInit": 1})
    assert run.segments[0].end.status == "finished"
    assert run.segments[0].end.totals.counts.steps == 100
    assert rows
    assert len(messages(errors)) == 1
    assert seconds < 30
