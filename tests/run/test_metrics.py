from dataclasses import replace
from pathlib import Path

import pytest

from flopwatch.run.metrics import METRICS, capacity_flops, doubt, logger_metrics, mfu_at_clock, tensor_mfu
from flopwatch.run.records import Device, Totals
from tests import samples

TOTALS = Totals(flops=10**16, tokens=5000, samples=50, batches=10, steps=10, device_seconds=7200.0, joules=7_200_000)
TOTALS = replace(TOTALS, seconds_by_kind={"training": 30.0, "data_wait": 5.0})
LEFT = {"budget_fraction": 0.25, "seconds_left": 1800.0, "seconds_left_low": 900.0, "seconds_left_high": 3600.0}


def logged(window=None, device=samples.H100, totals=TOTALS, **changes):
    arguments = {"capacity_flops": 4e16, "wall_seconds": 40.0, "usd_per_device_hour": 3.0}
    return logger_metrics(window or samples.window(10, 1010.0, **LEFT), device, totals, **{**arguments, **changes})


def test_every_value_by_hand():
    assert logged() == pytest.approx(
        {
            "perf/mfu": 0.4,  # 8e15 FLOPs / 10 s / 2 devices / 1e15
            "perf/mfu_at_clock": 0.5,  # 4e14 FLOP/s of 500,000 a clock x 1.6 GHz = 8e14
            "perf/hfu": 0.5,  # 1e16 hardware FLOPs / 10 s / 2 devices / 1e15
            "perf/run_mfu": 0.25,  # 1e16 of 20 s x 2 x 1e15
            "perf/goodput": 0.75,  # 30 s of kept training steps in 40 s
            "perf/device_tflops_per_sec": 400.0,
            "perf/tokens_per_sec": 400.0,
            "perf/step_seconds": 1.0,
            "perf/data_wait_frac": 0.1,
            "budget/flops": 1e16,
            "budget/tokens": 5000.0,
            "budget/device_hours": 2.0,
            "budget/kwh": 2.0,
            "budget/usd": 6.0,
            "budget/fraction": 0.25,
            "budget/hours_left": 0.5,
            "budget/hours_left_low": 0.25,
            "budget/hours_left_high": 1.0,
            "gpu/sm_clock_mhz": 1600.0,
            "gpu/sm_clock_mhz_min": 1500.0,
            "gpu/throttled_frac": 0.25,
            "gpu/slowest_rank_ratio": 1.25,
            "gpu/joules_per_token": 3.6,  # 1,200 W x 12 s of wall time / 4,000 tokens
        }
    )


def test_the_documented_keys_are_those_that_are_logged():
    assert set(logged()) == set(METRICS)
    sections = [key.split("/")[0] for key in METRICS]
    assert all(sections.count(section) <= 9 for section in sections)
    assert all(len(key) <= 30 for key in METRICS)


def test_the_readme_explains_every_key():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert [key for key in METRICS if f"`{key}`" not in readme] == []


def test_what_is_unknown_is_absent():
    unread = {"throttled": None, "throttled_frac": None, "power_watts": None, "tensor_active": None}
    unread |= {"slowest_rank": None, "slowest_rank_ratio": None}
    window = samples.window(10, 1010.0, 0, sm_clock_hz=None, sm_clock_hz_min=None, clock_samples=0, **unread)
    unknown = Totals(flops=None, tokens=None, samples=None, device_seconds=7200.0)
    window = replace(window, flops=None, tokens=None, hardware_flops=None)
    left = logged(window, Device("CPU", 1), unknown, capacity_flops=None, usd_per_device_hour=None)
    assert set(left) == {"perf/step_seconds", "perf/data_wait_frac", "budget/device_hours"}


@pytest.mark.parametrize(("samples_taken", "known"), [(2, False), (3, True)])
def test_mfu_at_clock_needs_three_samples(samples_taken, known):
    window = samples.window(10, 1010.0, clock_samples=samples_taken)
    assert (mfu_at_clock(window, samples.H100) is not None) == known
    assert (tensor_mfu(window, samples.H100) is not None) == known


def test_what_tensor_activity_would_be_as_mfu():
    # 55% of cycles x 500,000 FLOPs a clock x 1.6 GHz = 4.4e14 FLOP/s of 1e15.
    assert tensor_mfu(samples.window(10, 1010.0), samples.H100) == pytest.approx(0.44)
    assert tensor_mfu(samples.window(10, 1010.0, tensor_active=None), samples.H100) is None


def test_a_prefix_goes_before_the_section():
    assert "mine/perf/mfu" in logged(prefix="mine")


def test_capacity_is_peak_times_devices_times_all_wall_time():
    # 5e15 before, then 10 s of 2 devices of 1e15.
    assert capacity_flops(5e15, 10.0, samples.H100) == 25e15
    assert capacity_flops(None, 10.0, samples.H100) is None
    assert capacity_flops(0.0, 10.0, Device("CPU", 1)) is None
    assert capacity_flops(5e15, -3.0, samples.H100) == 5e15, "a clock that was set back takes nothing away"


def test_doubt_is_for_mfu_above_one_alone():
    assert doubt(None, samples.H100) is None
    assert doubt(1.0, samples.H100) is None
    assert "check the peak (datasheet: a sheet)" in doubt(1.01, samples.H100)
