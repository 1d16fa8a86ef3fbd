"""Lightning's profiler, listened to: what the stopwatch hears, and what the user's profiler still does."""

from contextlib import contextmanager

import pytest
from pytorch_lightning.profilers import PassThroughProfiler

from flopwatch.lightning.timing.profiler_tap import ProfilerTap
from flopwatch.lightning.timing.stopwatch import Stopwatch
from tests.lightning.timing.test_stopwatch import Clock


class Profiler:
    def __init__(self):
        self.actions = []

    def start(self, action_name):
        self.actions.append(("start", action_name))

    def stop(self, action_name):
        self.actions.append(("stop", action_name))


FOLLOWED = ("save_checkpoint", "[_TrainingEpochLoop].train_dataloader_next", "run_training_batch")
IGNORED = ("[Callback]EarlyStopping.on_save_checkpoint", "[LightningModule]GPT.on_save_checkpoint")


@pytest.fixture
def clock():
    return Clock()


def test_the_tap_listens_and_the_users_profiler_works_on(clock):
    profiler, watch = Profiler(), Stopwatch(clock)
    batches = []
    tap = ProfilerTap(profiler, watch, lambda: batches.append("begins"), lambda: batches.append("ends"))
    tap.attach()
    for name in (*FOLLOWED, *IGNORED):
        profiler.start(name)
        clock.now += 1
        profiler.stop(name)
    # A fetched batch has yet to be moved, so waiting for data goes on; after a batch come its callbacks.
    assert watch.seconds_by_kind() == {"checkpoint": 1, "data_wait": 1, "training": 1, "callbacks": 2}
    assert batches == ["begins", "ends"]
    tap.remove()
    profiler.start("save_checkpoint")
    assert "checkpoint" not in watch._kinds
    assert profiler.actions == [(move, name) for name in (*FOLLOWED, *IGNORED) for move in ("start", "stop")] + [
        ("start", "save_checkpoint")
    ]


def nothing():
    """Called where nobody listens."""


def test_lightnings_own_that_does_nothing_is_listened_to_by_its_contexts_too(clock):
    profiler, watch, batches = PassThroughProfiler(), Stopwatch(clock), []
    tap = ProfilerTap(profiler, watch, lambda: batches.append("begins"), lambda: batches.append("ends"))
    tap.attach()
    with profiler.profile("run_training_batch"):
        clock.now += 2
    with profiler.profile("[Callback]X.on_train_batch_end"):
        clock.now += 3
    with profiler.profile("save_checkpoint"):
        clock.now += 4
    profiler.start("[_TrainingEpochLoop].train_dataloader_next")
    clock.now += 5
    assert watch.seconds_by_kind() == {"training": 2, "callbacks": 3, "checkpoint": 4, "data_wait": 5}
    assert batches == ["begins", "ends"]
    tap.remove()
    assert not {"start", "stop", "profile"} & set(profiler.__dict__)


def test_a_batch_that_fails_has_ended(clock):
    profiler, watch, batches = PassThroughProfiler(), Stopwatch(clock), []
    ProfilerTap(profiler, watch, nothing, lambda: batches.append("ends")).attach()

    def fails():
        with profiler.profile("run_training_batch"):
            clock.now += 2
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fails()
    clock.now += 1
    assert batches == ["ends"]
    assert watch.seconds_by_kind() == {"training": 2, "callbacks": 1}


def test_the_users_profiler_is_inside_of_what_is_told(clock):
    """What the user's profiler takes at a batch's start is the batch's, and at its end before that ends."""
    order = []

    class Users:
        def start(self, action_name):
            order.append("users start")

        def stop(self, action_name):
            order.append("users stop")

        @contextmanager
        def profile(self, action_name):
            self.start(action_name)
            yield
            self.stop(action_name)

    profiler = Users()
    ProfilerTap(profiler, Stopwatch(clock), lambda: order.append("begins"), lambda: order.append("ends")).attach()
    with profiler.profile("run_training_batch"):
        pass
    assert order == ["begins", "users start", "users stop", "ends"]
