"""Every key by hand, absent where it is unknown, and in one table with its words."""

from dataclasses import replace

import pytest

from flopwatch.run.counts import UNKNOWN, Counts
from flopwatch.run.metric_table import METRICS, logger_metrics
from flopwatch.run.moment import Moment
from flopwatch.run.records import Device, Totals
from tests import samples

TOTALS = Totals(Counts(10**16, 5000, 50, batches=10, steps=10), device_seconds=7200.0, joules=7_200_000)
TOTALS = replace(TOTALS, seconds_by_kind={"training": 30.0, "data_wait": 5.0})
LEFT = {"budget_fraction": 0.25, "seconds_left": 1800.0, "seconds_left_low": 900.0, "seconds_left_high": 3600.0}
INSIDE = {"phases": samples.PHASES, "memory": samples.MEMORY, "loss": 2.5, "validation_loss": 2.75}


def logged(window=None, device=samples.H100, totals=TOTALS, **changes):
    arguments = {"capacity_flops": 4e16, "wall_seconds": 40.0, "usd_per_device_hour": 3.0, "kg_co2_per_kwh": 0.3}
    window = window or samples.window(10, 1010.0, **LEFT, **INSIDE)
    return logger_metrics(Moment(window, device, totals, **{**arguments, **changes}))


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
            "perf/samples_per_sec": 4.0,  # 40 in 10 s
            "step/data_wait_frac": 0.1,
            "step/transfer_frac": 0.01,
            "step/forward_frac": 0.3,
            "step/backward_frac": 0.5,
            "step/optimizer_frac": 0.1,  # without the 0.04 s of clipping
            "step/forward_mfu": 0.3,  # 9e13 FLOPs / 0.3 s / 1e15
            "step/backward_mfu": 0.4,  # 2e14 FLOPs / 0.5 s / 1e15
            "loss/train": 2.5,
            "loss/validation": 2.75,
            "gpu/memory_peak_frac": 0.75,  # 60 of 80 GiB
            "gpu/alloc_retries": 3.0,
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
            "gpu/kg_co2": 0.6,  # 2 kWh x 0.3 kg
            "gpu/joules_per_token": 3.6,  # 1,200 W x 12 s of wall time / 4,000 tokens
        }
    )


def test_the_documented_keys_are_those_that_are_logged():
    assert set(logged()) == set(METRICS)
    sections = [key.split("/")[0] for key in METRICS]
    assert all(sections.count(section) <= 9 for section in sections)
    assert all(len(key) <= 30 for key in METRICS)


def test_the_dashboard_has_one_unit_and_section_a_chart():
    charts = {each.chart for each in METRICS.values()}
    assert len({chart.title for chart in charts}) == len(charts)


def test_what_is_unknown_is_absent():
    unread = {"throttled": None, "throttled_frac": None, "power_watts": None, "tensor_active": None}
    unread |= {"slowest_rank": None, "slowest_rank_ratio": None}
    window = samples.window(10, 1010.0, 0, sm_clock_hz=None, sm_clock_hz_min=None, clock_samples=0, **unread)
    unknown = Totals(UNKNOWN, device_seconds=7200.0)
    window = samples.changed(window, flops=None, tokens=None, samples=None, hardware_flops=None)
    left = logged(window, Device("CPU", 1), unknown, capacity_flops=None, usd_per_device_hour=None)
    assert set(left) == {"perf/step_seconds", "step/data_wait_frac", "budget/device_hours"}


def test_a_prefix_goes_before_the_section():
    assert "mine/perf/mfu" in logger_metrics(Moment(samples.window(10, 1010.0), samples.H100, TOTALS), "mine")
