"""Windows that are closed at once and complete when the device and all ranks have come to their end."""

from dataclasses import replace

import pytest

from flopwatch.hardware.telemetry import Telemetry
from flopwatch.lightning.apart import Apart
from flopwatch.lightning.output import windows as module
from flopwatch.lightning.output.windows import Windows, slowest_rank_ratio, window_of
from flopwatch.lightning.ranks.reading import Sum
from flopwatch.run.counts import Counts
from flopwatch.run.records import Totals
from tests.lightning.fakes import boundary, lap, mark


def complete(*boundaries):
    windows = Windows()
    for each in boundaries:
        windows.close(each)
    return list(windows.complete())


def test_a_window_is_the_work_of_all_ranks_since_the_one_before():
    first, second = complete(
        boundary(1, mark(10, 1, 1), mark(20, 2, 1), lap()),
        boundary(3, mark(30, 3, 3), mark(70, 6, 3), lap(20.0)),
    )
    assert (first.counts.flops, first.counts.tokens, first.counts.batches) == (20, 20, 2)
    # 70 - 20 FLOPs, 60 - 20 tokens, 6 - 2 batches, 3 - 1 steps.
    assert (second.counts.flops, second.counts.tokens, second.counts.batches, second.counts.steps) == (50, 40, 4, 2)
    assert second.lap.seconds == 20.0


def test_an_earlier_window_is_waited_for_and_then_all_come_in_order():
    late = boundary(1, mark(10, 1, 1), mark(10, 1, 1))
    windows = Windows()
    for each in (late, boundary(2, mark(20, 2, 2), mark(20, 2, 2), lap())):
        windows.close(each)
    assert list(windows.complete()) == []
    assert [each.step for each in windows.sums()] == [1, 2]
    late.ticket.lap = lap()
    assert [each.boundary.step for each in windows.complete()] == [1, 2]
    assert windows.sums() == []


def test_where_the_sum_is_not_known_only_this_ranks_batches_and_steps_are():
    unknown, after = complete(
        boundary(1, mark(10, 1, 1), None, lap(), why="a rank is gone"),
        boundary(3, mark(30, 3, 3), mark(60, 6, 3), lap()),
    )
    assert (unknown.counts.flops, unknown.counts.tokens, unknown.counts.batches) == (None, None, 1)
    # What all had done at the end before is not known, so neither is what came since.
    assert (after.counts.flops, after.counts.batches, after.counts.steps) == (None, 2, 2)


def test_a_window_whose_end_a_rank_has_passed_over_is_a_part_of_the_next():
    over = boundary(2, mark(20, 2, 2), None, lap(pause_seconds={"validation": 3.0}), why="moved on")
    over.sum.passed_over = True
    windows = [
        boundary(1, mark(10, 1, 1), mark(10, 1, 1), lap()),
        over,
        boundary(3, mark(30, 3, 3), mark(30, 3, 3), lap()),
    ]
    first, both = complete(*windows)
    assert (first.counts.flops, both.counts.flops, both.counts.steps) == (10, 20, 2)
    assert (both.lap.seconds, both.lap.wall_seconds, both.lap.pause_seconds) == (20.0, 24.0, {"validation": 3.0})


def test_after_two_minutes_nobody_is_waited_for(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    late, hung = boundary(1, mark(10, 1, 1), None, lap()), boundary(2, mark(20, 2, 2), mark(20, 2, 2))
    windows = Windows()
    for each in (late, hung):
        object.__setattr__(each, "closed_at", 1000.0)
        windows.close(each)
    now[0] = 1119.0
    assert list(windows.complete()) == []
    now[0] = 1121.0
    # The one that the ranks did not publish is told without them, the one that the device never reached not at all.
    (told,) = windows.complete()
    assert (told.boundary.step, told.counts.flops) == (1, None)


def test_the_device_is_waited_for_as_long_as_it_may_take(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    late, windows, looks = boundary(1, mark(10, 1, 1), mark(10, 1, 1)), Windows(), []

    def look():
        looks.append(now[0])
        late.ticket.lap = lap() if now[0] > 0.5 else None

    windows.close(late)
    windows.wait_for_device(0.1, look)
    assert now[0] == pytest.approx(0.1, abs=0.01)
    windows.wait_for_device(10.0, look)
    assert now[0] == pytest.approx(0.5, abs=0.02)
    windows.wait_for_device(10.0, look)
    assert looks[-1] == now[0]


SUM = Sum(mark(20, 2, 1), 0, Telemetry(9, 1.6e9, 1.5e9, power_watts=700.0), 1, 4.0, 2.0)


def test_the_record_of_a_window_has_all_its_parts():
    (closed,) = complete(
        boundary(1, mark(10, 1, 1), SUM, lap(pause_seconds={"checkpoint": 2.0}), first=True, epochs=0.5)
    )
    window = window_of(closed, Totals(Counts(99)), 2, Apart())
    assert (window.step, window.ended_at, window.seconds, window.wall_seconds) == (1, 1001.0, 10.0, 12.0)
    assert (window.counts.flops, window.counts.tokens, window.totals.counts.flops, window.first, window.epochs) == (
        20,
        20,
        99,
        True,
        0.5,
    )
    assert (window.sm_clock_hz, window.power_watts, window.pause_seconds) == (1.6e9, 700.0, {"checkpoint": 2.0})
    # A step of 10 s is 2 s longer than if the slowest rank were as quick as the mean: 10 / 8.
    assert (window.slowest_rank, window.slowest_rank_ratio) == (1, 1.25)


def test_one_rank_alone_is_not_the_slowest():
    (closed,) = complete(boundary(1, mark(10, 1, 1), SUM, lap()))
    window = window_of(closed, Totals(), 1, Apart())
    assert (window.slowest_rank, window.slowest_rank_ratio) == (None, None)


def test_a_rank_that_was_slower_than_the_step_is_long_has_no_ratio():
    assert slowest_rank_ratio(2.0, replace(SUM, slowest_seconds=9.0, mean_seconds=1.0)) is None
