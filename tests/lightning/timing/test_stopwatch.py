from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopwatch.lightning.timing.device_time import HostTimer
from flopwatch.lightning.timing.stopwatch import Kind, Lap, Stopwatch
from flopwatch.run.time_kinds import TIME_KINDS, kinds_at


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_every_second_has_one_kind(clock):
    watch = Stopwatch(clock)
    clock.now += 4
    watch.become("training")
    clock.now += 10
    watch.enter("validation")
    clock.now += 3
    watch.enter("checkpoint")
    clock.now += 2
    watch.leave("checkpoint")
    clock.now += 1
    watch.leave("validation")
    clock.now += 5
    assert watch.seconds_by_kind() == {"setup": 4, "training": 15, "validation": 4, "checkpoint": 2}
    assert watch.elapsed_seconds() == 25


def test_a_lap_holds_the_training_loop_and_all_time(clock):
    watch = Stopwatch(clock)
    watch.become("training")
    clock.now += 7
    watch.enter("data_wait")
    clock.now += 2
    watch.leave("data_wait")
    watch.enter("validation")
    clock.now += 30
    watch.leave("validation")
    clock.now += 1
    assert watch.lap_seconds() == 40
    assert watch.lap().lap == Lap(
        seconds=10, data_wait_seconds=2, wall_seconds=40, own_seconds=2, pause_seconds={"validation": 30}
    )
    clock.now += 5
    assert watch.lap().lap == Lap(seconds=5, data_wait_seconds=0, wall_seconds=5, own_seconds=0)


def test_every_kind_that_a_process_books_is_in_the_table():
    assert set(get_args(Kind)) <= set(TIME_KINDS)
    assert set(get_args(Kind)) == {
        kind for kind in kinds_at("outside", "between steps", "steps") if kind not in ("lost",)
    }


def test_what_lies_between_steps_is_none_of_the_windows_time(clock):
    watch = Stopwatch(clock)
    watch.become("training")
    clock.now += 7
    for kind in ("flopwatch", "callbacks"):
        watch.become(kind)
        assert watch.in_loop()
        clock.now += 2
    watch.become("training")
    assert watch.lap().lap == Lap(seconds=7, data_wait_seconds=0, wall_seconds=11, own_seconds=4)


def test_leaving_what_was_never_entered_changes_nothing(clock):
    watch = Stopwatch(clock)
    watch.leave("validation")
    watch.leave("setup")
    clock.now += 1
    assert watch.seconds_by_kind() == {"setup": 1}


def test_leaving_ends_what_was_left_open_inside(clock):
    watch = Stopwatch(clock)
    watch.become("training")
    watch.enter("validation")
    watch.enter("checkpoint")
    assert "checkpoint" in watch._kinds
    watch.leave("validation")
    clock.now += 1
    assert watch.seconds_by_kind() == {"training": 1}
    assert "validation" not in watch._kinds


moves = st.sampled_from(["become", "enter", "leave", "lap"])
kinds = st.sampled_from(["setup", "training", "data_wait", "validation", "checkpoint", "other"])


@given(st.lists(st.tuples(moves, kinds, st.integers(0, 1000))))
def test_the_kinds_always_add_up_to_the_wall(steps):
    clock = Clock()
    watch = Stopwatch(clock)
    for move, kind, seconds in steps:
        clock.now += seconds
        watch.lap() if move == "lap" else getattr(watch, move)(kind)
    assert sum(watch.seconds_by_kind().values()) == watch.elapsed_seconds()


class Queue:
    """A device that works through what it is given, one after the other."""

    sees_stalls, is_immediate = True, False

    def __init__(self, clock):
        self.clock, self.free_at = clock, clock.now

    def give(self, seconds):
        self.free_at = max(self.free_at, self.clock.now) + seconds

    def mark(self):
        return QueueMark(self.clock, max(self.free_at, self.clock.now))


class QueueMark:
    def __init__(self, clock, at):
        self.clock, self.at = clock, at

    def passed(self):
        return self.clock.now >= self.at

    def seconds_until(self, later):
        return later.at - self.at


@pytest.fixture
def on_device(clock):
    watch, device = Stopwatch(clock), Queue(clock)
    watch.use(device)
    return watch, device


def batch(watch, device, clock, asked=0.0, works=1.0):
    """A batch that takes the process `asked` seconds to put into the queue, and the device `works` to do."""
    watch.become("training")
    clock.now += asked
    device.give(works)
    watch.become("callbacks")


def test_a_device_that_is_still_training_is_not_waiting(clock, on_device):
    watch, device = on_device
    for _ in range(3):
        batch(watch, device, clock, works=4.0)
        clock.now += 1.0  # in a callback, while the device works
    ticket = watch.lap()
    assert ticket.lap is None, "the device has not come to the end of the batch"
    clock.now += 20.0
    watch.resolve()
    # Three batches of four seconds without a pause; the last callback's second is not part of the lap yet.
    assert ticket.lap == Lap(seconds=12.0, data_wait_seconds=0.0, wall_seconds=12.0, own_seconds=0.0)


def test_only_the_time_in_which_the_device_stood_still_is_waiting(clock, on_device):
    watch, device = on_device
    batch(watch, device, clock, works=4.0)
    watch.become("data_wait")
    clock.now += 10.0  # four of them the device was still at work
    batch(watch, device, clock, works=4.0)
    clock.now += 4.0
    lap = watch.lap().lap
    assert lap == Lap(seconds=14.0, data_wait_seconds=6.0, wall_seconds=14.0, own_seconds=6.0)
    watch.become("training")
    # Four of the ten seconds of waiting and four of callbacks were training; the device never stood still in those.
    assert watch.seconds_by_kind() == {"data_wait": 6.0, "training": 8.0}
    assert sum(watch.seconds_by_kind().values()) == watch.elapsed_seconds()


def test_a_slow_callback_does_not_count_where_the_device_stands_still(clock, on_device):
    watch, device = on_device
    batch(watch, device, clock, works=2.0)
    clock.now += 30.0
    batch(watch, device, clock, works=2.0)
    ticket = watch.lap()
    clock.now += 2.0
    watch.resolve()
    assert ticket.lap == Lap(seconds=4.0, data_wait_seconds=0.0, wall_seconds=32.0, own_seconds=28.0)


def test_a_queue_that_cannot_be_marked_takes_callbacks_for_training(clock):
    watch = Stopwatch(clock)
    watch.use(HostTimer(clock, queued=True))
    watch.become("training")
    clock.now += 1.0
    watch.become("callbacks")
    clock.now += 3.0
    watch.become("data_wait")
    clock.now += 2.0
    watch.become("training")
    assert watch.seconds_by_kind() == {"training": 4.0, "data_wait": 2.0}
