import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopwatch.lightning.timing import Lap, ProfilerTap, Stopwatch


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
    assert watch.lap() == Lap(seconds=10, data_wait_seconds=2, wall_seconds=40)
    clock.now += 5
    assert watch.lap() == Lap(seconds=5, data_wait_seconds=0, wall_seconds=5)


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
    assert watch.inside("checkpoint")
    watch.leave("validation")
    clock.now += 1
    assert watch.seconds_by_kind() == {"training": 1}
    assert not watch.inside("validation")


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


class Profiler:
    def __init__(self):
        self.actions = []

    def start(self, action_name):
        self.actions.append(("start", action_name))

    def stop(self, action_name):
        self.actions.append(("stop", action_name))


def test_the_tap_listens_and_the_users_profiler_works_on(clock):
    profiler, watch = Profiler(), Stopwatch(clock)
    tap = ProfilerTap(profiler, watch)
    names = {
        "save_checkpoint": "checkpoint",
        "[_TrainingEpochLoop].train_dataloader_next": "data_wait",
        "[Callback]EarlyStopping.on_save_checkpoint": "setup",
        "[LightningModule]GPT.on_save_checkpoint": "setup",
        "run_training_batch": "setup",
    }
    for name in names:
        profiler.start(name)
        clock.now += 1
        profiler.stop(name)
    assert watch.seconds_by_kind() == {"checkpoint": 1, "data_wait": 1, "setup": 3}
    tap.remove()
    profiler.start("save_checkpoint")
    assert not watch.inside("checkpoint")
    assert profiler.actions == [(move, name) for name in names for move in ("start", "stop")] + [
        ("start", "save_checkpoint")
    ]
