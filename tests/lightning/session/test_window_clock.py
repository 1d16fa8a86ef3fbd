"""When a window is due, by a clock and ranks that the test moves."""

from types import SimpleNamespace

from flopwatch.lightning.options import Options
from flopwatch.lightning.ranks.ranks import Ranks
from flopwatch.lightning.session.window_clock import WindowClock


def clock(**options):
    watch = SimpleNamespace(seconds=0.0)
    watch.lap_seconds = lambda: watch.seconds
    return WindowClock(Options(**options), Ranks(SimpleNamespace(), 0, 1), watch), watch


def due(one, steps, last_step=None):
    """The steps at which windows end."""
    found = []
    for step in steps:
        if one.is_due(step, step, last_step):
            one.closed(step)
            found.append(step)
    return found


def test_the_first_step_is_a_window_whatever_was_asked_for():
    assert due(clock(every_n_steps=100)[0], [1, 2]) == [1]
    assert due(clock()[0], [7, 8]) == [7]


def test_every_so_many_steps_are_counted_by_the_trainers_own():
    assert due(clock(every_n_steps=5)[0], range(1, 17)) == [1, 5, 10, 15]


def test_the_last_step_ends_a_window():
    assert due(clock(every_n_steps=5)[0], range(1, 13), last_step=12) == [1, 5, 10, 12]


def test_every_so_many_seconds_are_those_since_the_last_one():
    one, watch = clock(every_n_seconds=10.0)
    one.closed(1)
    for watch.seconds, expected in ((9.9, False), (10.0, True)):
        assert one.is_due(5, 5, None) is expected


def test_ranks_are_asked_with_the_steps_since_the_last_window():
    one, watch = clock(every_n_seconds=10.0)
    asked = []
    one._ranks = SimpleNamespace(ends_window=lambda *arguments: asked.append(arguments))
    one.closed(4)
    watch.seconds = 6.0
    one.is_due(107, 7, None)
    assert asked == [(107, 3, 6.0, 10.0)]


def test_steps_since_the_last_window_are_open():
    one, _ = clock()
    assert one.has_open(1)
    one.closed(1)
    assert (one.has_open(1), one.has_open(2), one.windows) == (False, True, 1)
