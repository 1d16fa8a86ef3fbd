"""Means over windows of ten seconds, by hand."""

from dataclasses import replace

import pytest

from flopwatch.report import means
from tests import samples

WINDOW = samples.window(10, 1010.0)


def test_a_mean_is_over_the_wall_time_of_what_is_known():
    windows = [WINDOW, replace(WINDOW, wall_seconds=36.0, power_watts=2000.0), replace(WINDOW, power_watts=None)]
    # 12 s at 1,200 W and 36 s at 2,000 W.
    assert means.mean(windows, lambda window: window.power_watts) == 1800.0
    assert means.mean([], lambda window: window.power_watts) is None


def test_a_clock_is_weighed_by_its_samples():
    windows = [WINDOW, replace(WINDOW, sm_clock_hz=1.2e9, clock_samples=30), replace(WINDOW, sm_clock_hz=None)]
    assert means.mean_clock(windows) == pytest.approx((1.6e9 * 10 + 1.2e9 * 30) / 40)


def test_a_sum_with_an_unknown_part_is_unknown():
    assert means.total([1, 2]) == 3
    assert means.total([1, None]) is None


def test_a_utilization_needs_every_window():
    # 8e15 FLOPs in 10 s on 2 devices of 1e15, then 4e15.
    windows = [WINDOW, samples.window(20, 1020.0, 4_000 * samples.TERA)]
    assert means.mean_utilization((window, 2, 1e15) for window in windows) == pytest.approx(0.3)
    assert means.mean_utilization((window, 2, 1e15) for window in windows[:1]) == pytest.approx(0.4)
    unknown = samples.window(30, 1030.0, None)
    assert means.mean_utilization((window, 2, 1e15) for window in (*windows, unknown)) is None


def test_a_clock_that_was_read_too_seldom_has_no_peak():
    assert means.peak_at_clock(WINDOW, samples.H100) == pytest.approx(500_000 * 1.6e9)
    assert means.peak_at_clock(replace(WINDOW, clock_samples=0), samples.H100) is None
    assert means.coverage([WINDOW, replace(WINDOW, clock_samples=0, wall_seconds=36.0)]) == 0.25


def test_energy_is_of_the_windows_that_know_both():
    windows = [WINDOW, replace(WINDOW, power_watts=None)]
    # 1,200 W x 12 s of 4,000 tokens.
    assert means.energy_of_one(windows, lambda window: window.counts.tokens) == pytest.approx(3.6)


def test_throttling_is_a_share_of_the_time_for_each_reason():
    windows = [WINDOW, replace(WINDOW, throttled={"power_cap": 0.75, "sync_boost": 0.0, "of tomorrow": 1.0})]
    assert means.throttled_by_reason(windows) == {"power_cap": 0.5, "sync_boost": 0.0}
    assert means.throttled_by_reason([replace(WINDOW, throttled=None)]) is None


def test_tensor_activity_is_an_mfu_at_the_actual_clock():
    # 55% of cycles at 1.6 GHz x 500,000 FLOPs a clock are 0.44 of 1e15.
    assert means.mean_tensor_mfu([(samples.H100, WINDOW)]) == pytest.approx(0.44)
