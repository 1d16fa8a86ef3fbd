"""Phases of a step: by a clock that the test sets, by a queue that lags behind, and in real fits."""

from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.profilers import PassThroughProfiler, SimpleProfiler

from flopwatch import FlopWatch
from flopwatch.lightning.counting.counter import Cost
from flopwatch.lightning.counting.watcher import Watcher
from flopwatch.lightning.timing.device_time import HostTimer
from flopwatch.lightning.timing.phases import Phases, actions_of
from flopwatch.lightning.timing.profiler_tap import ProfilerTap
from flopwatch.lightning.timing.stopwatch import Stopwatch
from flopwatch.run.records import StepPhases
from flopwatch.run.run_file import read_run
from tests.lightning.models import FLOPS_PER_BATCH, TinyGPT, loader, trainer

STRATEGY, MODULE = "[Strategy]SingleDeviceStrategy", "[LightningModule]GPT"
COST = Cost(30, 36, 10)


class SingleDeviceStrategy:
    pass


class GPT:
    pass


class QueueTimer:
    """Marks in a queue that the device works through later; it says when."""

    sees_stalls, is_immediate = True, False

    def __init__(self):
        self.marks = []

    def mark(self):
        mark = SimpleNamespace(at=None)
        mark.passed = lambda: mark.at is not None
        mark.seconds_until = lambda later: later.at - mark.at
        self.marks.append(mark)
        return mark


class Loop:
    """Lightning's actions in their order, in one optimizer step of two batches."""

    def __init__(self, timer=None, automatic=True, profiler=None, ranks_per_replica=1):
        self.now = 0.0
        self.profiler = profiler or PassThroughProfiler()
        tap = ProfilerTap(self.profiler, Stopwatch(lambda: self.now), lambda: None, lambda: None)
        tap.attach()
        timer = timer or HostTimer(lambda: self.now)
        actions = actions_of(SingleDeviceStrategy(), GPT())
        self.phases = Phases(timer, tap, actions, automatic=automatic, ranks_per_replica=ranks_per_replica)

    def during(self, name, seconds):
        with self.profiler.profile(name):
            self.now += seconds

    def batch(self, *, ends_step, watched=False, cost=COST):
        self.now += 0.5
        self.during(f"{STRATEGY}.batch_to_device", 0.25)
        if ends_step:
            with self.profiler.profile(f"{MODULE}.optimizer_step"):
                self._closure()
                self.during(f"{MODULE}.configure_gradient_clipping", 0.125)
                self.now += 3.0
        else:
            self._closure()
        self.phases.batch_ended(watched=watched, cost=lambda: cost, ends_step=ends_step)

    def _closure(self):
        self.during(f"{STRATEGY}.training_step", 1.0)
        self.phases.enter("backward")
        self.now += 2.0
        self.phases.leave()

    def step(self, **how):
        self.phases.step_ended()
        self.batch(ends_step=False, **how)
        self.batch(ends_step=True, **how)


# Two batches of 0.5 s between, 0.25 s moved, 1 s forward, 2 s backward; then 0.125 s clipped, 3 s optimizer.
EXPECTED = StepPhases(
    seconds=10.625,
    transfer_seconds=0.5,
    forward_seconds=2.0,
    backward_seconds=4.0,
    clip_seconds=0.125,
    optimizer_seconds=3.0,
    forward_flops=20,
    backward_flops=40,
    recomputed_flops=12,
)


@pytest.mark.parametrize("profiler", [PassThroughProfiler, SimpleProfiler])
def test_a_step_by_hand(profiler):
    loop = Loop(profiler=profiler())
    loop.step()
    assert loop.phases.take().phases() == EXPECTED
    loop.step()
    assert loop.phases.take().phases() == EXPECTED, "every window has one"


def test_one_step_a_window_is_enough():
    loop = Loop()
    loop.step()
    loop.step()
    assert not loop.phases.is_sampling
    assert loop.phases.take() is not None
    assert loop.phases.take() is None


def test_a_queue_tells_later_when_the_device_came_by():
    timer = QueueTimer()
    loop = Loop(timer)
    loop.step()
    sample = loop.phases.take()
    assert sample.phases() is None, "the device is not there yet"
    # The queue runs at half the host's pace and starts late: marks by their place, 2 s apart.
    for place, mark in enumerate(timer.marks):
        mark.at = 100.0 + 2.0 * place
    found = sample.phases()
    # between, [transfer, between, forward, between, backward, between] as marks begin each: one of 2 s for each entry.
    assert found.seconds == 2.0 * (len(timer.marks) - 1)
    assert (found.transfer_seconds, found.forward_seconds, found.backward_seconds) == (4.0, 4.0, 4.0)
    # Optimizer: before the closure, between forward and backward, after backward, after clipping.
    assert (found.clip_seconds, found.optimizer_seconds) == (2.0, 8.0)


def test_a_watched_or_interrupted_step_is_no_sample():
    loop = Loop()
    loop.step(watched=True)
    assert loop.phases.take() is None
    loop.phases.step_ended()
    loop.batch(ends_step=False)
    loop.phases.give_up()
    loop.batch(ends_step=True)
    assert loop.phases.take() is None
    loop.step()
    assert loop.phases.take().phases() == EXPECTED


def test_a_batch_of_unknown_cost_has_seconds_alone():
    for cost in (None, Cost(30, 36)):
        loop = Loop()
        loop.step(cost=cost)
        found = loop.phases.take().phases()
        assert (found.forward_seconds, found.forward_flops, found.backward_flops) == (2.0, None, None)


def test_ranks_that_share_a_replica_share_its_flops():
    loop = Loop(ranks_per_replica=2)
    loop.step()
    assert loop.phases.take().phases().forward_flops == 10
    loop = Loop(ranks_per_replica=0)
    loop.step()
    assert loop.phases.take().phases().forward_flops is None


def test_where_lightning_does_not_see_a_phase_there_is_none():
    loop = Loop(automatic=False)
    loop.phases.step_ended()
    loop.during(f"{STRATEGY}.training_step", 4.0)
    loop.phases.batch_ended(watched=False, cost=lambda: COST, ends_step=True)
    assert loop.phases.take() is None


def test_a_queue_that_cannot_be_marked_has_no_phases():
    loop = Loop(HostTimer(lambda: 0.0, queued=True))
    loop.step()
    assert loop.phases.take() is None


def test_a_mark_that_fails_costs_the_sample_and_nothing_else():
    timer = QueueTimer()
    loop = Loop(timer)
    loop.phases.step_ended()
    timer.mark = lambda: 1 / 0
    loop.batch(ends_step=True)
    assert loop.phases.take() is None


def phases_of(folder, model, **changes):
    watch = FlopWatch(every_n_steps=20, dirpath=folder)
    trainer(folder, watch, **{"max_steps": 60, **changes}).fit(model, loader(300))
    (segment,) = read_run(folder).segments
    return [each.phases for each in segment.windows if not each.first]


@pytest.fixture
def seldom_watched(monkeypatch):
    monkeypatch.setattr(Watcher, "_may", lambda *_: False)


@pytest.mark.parametrize("accumulated", [1, 4])
def test_every_window_of_a_fit_has_a_whole_step(tmp_path, seldom_watched, accumulated):
    for each in phases_of(tmp_path, TinyGPT(), accumulate_grad_batches=accumulated, gradient_clip_val=1.0):
        parts = (each.transfer_seconds, each.forward_seconds, each.backward_seconds, each.clip_seconds)
        assert all(seconds > 0 for seconds in (*parts, each.optimizer_seconds))
        assert sum(parts) + each.optimizer_seconds < each.seconds
        assert each.forward_flops == accumulated * FLOPS_PER_BATCH // 3
        assert each.backward_flops == 2 * each.forward_flops
        assert each.recomputed_flops == 0


class ByHand(TinyGPT):
    def __init__(self, plainly):
        super().__init__()
        self.automatic_optimization, self.plainly = False, plainly

    def training_step(self, batch, index):
        loss, optimizer = self._loss(batch), self.optimizers()
        optimizer.zero_grad()
        loss.backward() if self.plainly else self.manual_backward(loss)
        optimizer.step()


def test_manual_optimization_through_lightning_has_phases_and_past_it_none(tmp_path, seldom_watched):
    for each in phases_of(tmp_path / "through", ByHand(False)):
        assert each.forward_seconds > 0
        assert each.backward_seconds > 0
        assert each.optimizer_seconds > 0
    assert phases_of(tmp_path / "past", ByHand(True)) == [None] * 3


class Watching(pl.Callback):
    def __init__(self):
        self.names = set()

    def on_train_start(self, trainer, module):
        tap = next(each for each in trainer.callbacks if isinstance(each, FlopWatch))._session._tap
        self.tap = tap

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 19:
            self.names = set(self.tap._starts)


def test_between_samples_nothing_more_is_listened_to(tmp_path, seldom_watched):
    look = Watching()
    watch = FlopWatch(every_n_steps=20, dirpath=tmp_path)
    trainer(tmp_path, watch, look, max_steps=20).fit(TinyGPT(), loader(300))
    assert look.names == {"run_training_batch", "[_TrainingEpochLoop].train_dataloader_next", "save_checkpoint"}
    assert torch.is_grad_enabled()


class Skips(TinyGPT):
    """Every third batch is skipped."""

    def training_step(self, batch, index):
        return None if index % 3 == 0 else self._loss(batch)


def test_a_step_with_a_skipped_batch_is_no_sample(tmp_path, seldom_watched):
    # Steps of two batches: of batches 0 1 | 2 3 | 4 5 | 6 7 only 4 and 5 are a step without a skipped one.
    for each in phases_of(tmp_path, Skips(), accumulate_grad_batches=2):
        assert each.forward_flops == 2 * FLOPS_PER_BATCH // 3
