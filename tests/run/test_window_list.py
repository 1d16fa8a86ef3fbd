"""Merged windows keep sums and means, so that a report of a very long run says what it would have said."""

from dataclasses import replace

import pytest

from flopwatch.report.report import summarize
from flopwatch.run.run_file import Run, Segment
from flopwatch.run.window_list import WindowList, merged
from tests import samples

TERA = 10**12


def windows(count):
    """Windows of changing length, speed and clock; the first one is warm-up."""
    return [
        samples.window(
            10 * place,
            1000.0 + 12 * place,
            (8_000 - place % 7 * 100) * TERA,
            seconds=10.0 + place % 5 / 10,
            first=place == 1,
            sm_clock_hz=1.5e9 + place % 11 * 1e7,
            clock_samples=8 + place % 4,
            power_watts=1100.0 + place % 13,
            throttled={"power_cap": place % 3 / 10},
            pause_seconds={"validation": 2.0} if place % 4 == 0 else {},
            totals=samples.totals(10 * place, 1000.0 + 12 * place, 8_000 * TERA * place),
        )
        for place in range(1, count + 1)
    ]


def test_two_windows_are_one_by_hand():
    one = samples.window(10, 1012.0, sm_clock_hz=1.0e9, clock_samples=10, throttled={"power_cap": 0.2})
    two = samples.window(
        20, 1030.0, sm_clock_hz=2.0e9, clock_samples=30, wall_seconds=36.0, throttled={"power_cap": 0.6}
    )
    both = merged([one, two])
    assert (both.step, both.ended_at, both.counts.steps, both.counts.flops) == (20, 1030.0, 20, 16_000 * TERA)
    assert (both.seconds, both.wall_seconds) == (20.0, 48.0)
    assert both.sm_clock_hz == pytest.approx(1.75e9)  # by samples: (10 x 1 + 30 x 2) / 40
    assert both.throttled["power_cap"] == pytest.approx(0.5)  # by wall time: (12 x 0.2 + 36 x 0.6) / 48
    assert both.sm_clock_hz_min == 1.5e9
    assert both.pause_seconds == {"validation": 4.0}
    assert both.totals == two.totals


def test_what_is_unknown_in_one_is_unknown_as_a_sum_and_not_as_a_mean():
    one, two = samples.window(10, 1012.0), samples.window(20, 1024.0)
    both = merged(
        [one, replace(two, counts=samples.counts(flops=None), sm_clock_hz=None, throttled=None, tensor_active=None)]
    )
    assert both.counts.flops is None
    assert (both.sm_clock_hz, both.tensor_active) == (1.6e9, 0.55)
    assert both.throttled == one.throttled


@pytest.mark.parametrize("count", [50, 64, 65, 333, 1000])
def test_there_are_never_more_than_so_many_and_none_is_lost(count):
    kept = WindowList(most=64)
    for window in windows(count):
        kept.add(window)
    made = kept.windows()
    assert len(made) <= 65
    assert made[0].first
    assert sum(window.counts.steps for window in made) == 10 * count
    assert [window.step for window in made] == sorted(window.step for window in made)


def profiled(place):
    """A window ten times as slow as the others, as a profiler made it."""
    return samples.window(10 * place, 1000.0 + 12 * place, seconds=100.0, first=True, profiled=True)


def test_profiled_windows_never_become_steady():
    one, two = profiled(1), profiled(2)
    for pair in ([one, two], [one, samples.window(20, 1024.0)], [replace(one, first=False), two]):
        assert (merged(pair).first, merged(pair).profiled) == (True, True)
    start_ups = merged([replace(one, profiled=False), replace(two, profiled=False)])
    assert (start_ups.first, start_ups.profiled) == (True, False)
    assert not merged([samples.window(10, 1012.0), samples.window(20, 1024.0)]).first


@pytest.mark.parametrize("every", [1, 2, 3, 50])
@pytest.mark.parametrize("count", [64, 1000, 5000])
def test_of_very_many_profiled_windows_none_counts_as_speed(every, count):
    kept = WindowList(most=64)
    for place in range(1, count + 1):
        kept.add(profiled(place) if place % every == 0 else samples.window(10 * place, 1000.0 + 12 * place))
    made = kept.windows()
    slow, steady = [each for each in made if each.first], [each for each in made if not each.first]
    # Windows of 10 steps: 100 s of each profiled one, 10 s of each other.
    assert sum(each.counts.steps for each in slow) == 10 * (count // every)
    assert sum(each.seconds for each in slow) == 100 * (count // every)
    assert all(each.profiled for each in slow)
    assert {each.seconds / each.counts.steps for each in steady} <= {1.0}
    assert sum(each.counts.steps for each in made) == 10 * count
    assert [each.step for each in made] == sorted(each.step for each in made)
    assert len(made) <= 65
    assert len(slow) <= 16


def test_a_profiled_window_that_is_not_told_to_be_a_first_one_stays_apart():
    kept = WindowList(most=8)
    for place in range(1, 41):
        kept.add(replace(profiled(place), first=place % 10 != 0))
    assert all(each.first or each.profiled for each in kept.windows())


def test_groups_do_not_grow_without_end():
    kept = WindowList(most=64)
    for place in range(1, 5001):
        kept.add(profiled(place) if place % 2 else samples.window(10 * place, 1000.0 + 12 * place))
    for place in range(5001, 5301):
        kept.add(samples.window(10 * place, 1000.0 + 12 * place))
    # 2,800 steady windows in 64 are 44 in each, in powers of two 64.
    assert max(each.counts.steps for each in kept.windows()[-3:]) <= 640


def test_profiled_windows_that_are_done_again_make_room():
    kept = WindowList(most=40)
    for place in range(1, 11):
        kept.add(profiled(place))
    assert kept.drop_after(50) == 5
    for place in range(6, 11):
        kept.add(profiled(place))
    assert [each.step for each in kept.windows()] == [10 * place for place in range(1, 11)]


def test_steps_that_are_done_again_are_forgotten():
    kept = WindowList(most=64)
    for window in windows(40):
        kept.add(window)
    assert kept.drop_after(250) == 15
    assert kept.last.step == 250
    assert kept.drop_after(1000) == 0


def test_a_report_says_the_same_of_merged_windows(tmp_path):
    everything, kept = windows(3000), WindowList(most=256)
    for window in everything:
        kept.add(window)

    def report_of(parts):
        return summarize(Run(tmp_path, (Segment(samples.start(), samples.WORK, tuple(parts), (), None),)))

    whole, short = report_of(everything), report_of(kept.windows())
    assert len(short.points) < 260
    for name in ("mfu", "hfu", "run_mfu", "tokens_per_second", "step_seconds", "data_wait_fraction"):
        assert getattr(short, name) == pytest.approx(getattr(whole, name), rel=1e-9), name
    for name in (
        "sm_clock_hz",
        "sm_clock_hz_min",
        "throttled_frac",
        "power_watts",
        "joules_per_token",
        "tensor_active",
    ):
        assert getattr(short, name) == pytest.approx(getattr(whole, name), rel=1e-9), name
    # The clock is a mean by samples, the MFU at it one by seconds: of windows that differ in both, not quite the same.
    assert short.mfu_at_clock == pytest.approx(whole.mfu_at_clock, rel=1e-5)
    assert short.throttled["power_cap"] == pytest.approx(whole.throttled["power_cap"])
    assert (short.totals, short.step, short.wall_seconds) == (whole.totals, whole.step, whole.wall_seconds)


def test_the_slowest_rank_of_merged_windows_is_the_one_that_cost_most():
    # Of windows of 12 s rank 0 cost (0.5 + 0.6) x 12 s = 13.2 s, rank 3 with the slowest of them all 12 s.
    ranks = [(0, 1.5), (0, 1.6), (3, 2.0)]
    windows = [
        samples.window(10 * place, 1000.0 + place, slowest_rank=rank, slowest_rank_ratio=ratio)
        for place, (rank, ratio) in enumerate(ranks)
    ]
    whole = merged(windows)
    assert (whole.slowest_rank, whole.slowest_rank_ratio) == (0, pytest.approx(5.1 / 3))
