"""Pace, pauses and the interval around them; how good they are over many runs is in tests/benchmarks/projection.py."""

import random
import statistics

import pytest

from flopwatch.run.projection import Pace
from tests.benchmarks import projection as benchmark


def learned(*windows):
    pace = Pace()
    for amount, seconds, *pauses in windows:
        pace.add(amount, seconds, *pauses or [{}])
    return pace


def test_nothing_seen_is_nothing_said():
    assert Pace().left(10) is None
    assert learned((0, 5.0), (3, 0.0)).left(10) is None


def test_a_few_windows_give_a_mean_and_no_interval():
    # 30 done in 60 s: 2 s each.
    left = learned((10, 15.0), (20, 45.0)).left(50)
    assert (left.seconds, left.low, left.high) == (100.0, None, None)


def test_an_even_run_goes_on_as_it_went():
    left = learned(*[(10, 20.0)] * 100).left(500)
    assert left.seconds == pytest.approx(1000.0)
    # All that it may yet do is the change that nobody has seen, 0.4% x sqrt(half as long as so far), times 1.28.
    assert left.high / left.seconds - 1 == pytest.approx(1.2816 * 1.02 * 0.004 * 0.5**0.5, rel=0.01)
    assert left.seconds / left.low == pytest.approx(left.high / left.seconds)


def test_a_budget_that_is_very_far_away_has_no_interval():
    # 1e12 tokens of 10 in 20 s each: its interval would be a number that no float holds.
    left = learned(*[(10, 20.0)] * 20).left(10**12)
    assert (left.seconds, left.low, left.high) == (pytest.approx(2e12), None, None)


def test_a_run_that_became_slower_goes_on_slower():
    # The mean since the start would say 1.25 s each.
    left = learned(*[(1, 1.0)] * 100, *[(1, 1.5)] * 100).left(100)
    assert left.seconds == pytest.approx(150, rel=0.02)


def test_pauses_still_to_come_are_counted_by_their_period():
    # A validation of 60 s after every 10 windows. After 42 windows, 28 more bring those after 50, 60 and 70.
    windows = [(1, 10.0, {"validation": 60.0} if number % 10 == 0 else {}) for number in range(1, 43)]
    assert learned(*windows).left(28).seconds == pytest.approx(28 * 10 + 3 * 60)
    assert learned(*windows).left(7).seconds == pytest.approx(7 * 10)


def test_the_first_pause_after_a_restart_comes_early_and_the_others_keep_their_period():
    # The process began in the middle of a period: pauses after 4, 14 and 24 windows; 10 more bring that after 34.
    windows = [(1, 10.0, {"checkpoint": 30.0} if number % 10 == 4 else {}) for number in range(1, 31)]
    assert learned(*windows).left(10).seconds == pytest.approx(10 * 10 + 30)


def test_work_that_comes_in_larger_windows_has_the_same_pace():
    assert learned(*[(5, 10.0)] * 10, *[(50, 100.0)] * 10).left(100).seconds == pytest.approx(200)


def test_a_long_run_needs_no_more_memory():
    pace, random_ = Pace(), random.Random(1)
    for _ in range(100_000):
        pace.add(1.0, random_.gauss(10, 0.5), {})
    assert len(pace._blocks) <= 257
    assert pace.left(1000).seconds == pytest.approx(10_000, rel=0.01)


def test_over_many_runs_the_interval_means_what_it_says():
    """The issue's bars, on a tenth of the runs of the benchmark: three in four to 85%, and an error below 3%."""
    judged = [
        benchmark.judge(make(random.Random(f"{name}{seed}")), 0.5)
        for name, make in benchmark.KINDS.items()
        for seed in range(40)
    ]
    assert 0.75 <= statistics.fmean(held for _, _, held in judged) <= 0.88  # 240 runs know it to within 3%
    assert statistics.median(error for error, _, _ in judged) < 0.03
    assert statistics.median(error for error, _, _ in judged) < statistics.median(naive for _, naive, _ in judged)


def test_paces_that_vary_wildly_have_no_interval():
    pace = Pace()
    for number in range(8):
        pace.add(1.0, 4.0**number, {})
    left = pace.left(100.0)
    assert left.seconds > 0
    assert (left.low, left.high) == (None, None)
