"""Which batches are watched, by a clock that the test moves."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from flopwatch.errors import MeasurementError
from flopwatch.lightning.counting import watcher as module
from flopwatch.lightning.counting.watcher import Watcher


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def run(watcher, clock, watched_seconds, seconds, *, due=False, known=True):
    """One batch; whether it was watched."""
    watcher.plan(due=due, known=known)
    wanted = watcher._wanted
    watcher.start()
    clock.now += watched_seconds if wanted else seconds
    watcher.stop()
    return wanted


def test_watching_costs_no_more_than_its_share_of_the_time():
    clock = Clock()
    watcher = Watcher(nn.Linear(3, 3), several_ranks=False, clock=clock)
    seen = [run(watcher, clock, 0.030, 0.020) for _ in range(50_000)]
    # Ten milliseconds more each: a quarter of a second is free, then 0.3% of the time.
    assert watcher.extra_seconds() == pytest.approx(0.25 + 0.003 * clock.now, rel=0.05)
    assert all(seen[:10])
    assert sum(seen) * 0.010 == pytest.approx(watcher.extra_seconds(), rel=0.05)


def test_what_is_not_known_may_cost_more():
    clock = Clock()
    watcher = Watcher(nn.Linear(3, 3), several_ranks=False, clock=clock)
    for _ in range(50_000):
        run(watcher, clock, 0.030, 0.020, known=False)
    assert watcher.extra_seconds() == pytest.approx(2.0 + 0.02 * clock.now, rel=0.05)


def test_a_check_that_is_due_is_made_whatever_it_costs():
    clock = Clock()
    watcher = Watcher(nn.Linear(3, 3), several_ranks=False, clock=clock)
    for _ in range(100):
        run(watcher, clock, 10.0, 0.001)
    assert not run(watcher, clock, 10.0, 0.001)
    assert run(watcher, clock, 10.0, 0.001, due=True)


def test_ranks_that_wait_for_each_other_watch_the_same_batches():
    seen = []
    for pace in (0.020, 0.035):
        clock = Clock()
        watcher = Watcher(nn.Linear(3, 3), several_ranks=True, clock=clock)
        seen.append([run(watcher, clock, 1.01 * pace, pace, known=False) for _ in range(1000)])
    assert seen[0] == seen[1]
    assert [number + 1 for number, each in enumerate(seen[0]) if each] == [*range(1, 17), *range(64, 1001, 64)]


def watcher(several_ranks=False):
    clock = Clock()
    return Watcher(nn.Linear(3, 3), several_ranks=several_ranks, clock=clock), clock


def test_a_batch_that_was_frozen_meanwhile_is_watched_though_it_was_not_planned():
    one, clock = watcher()
    for _ in range(20):
        run(one, clock, 10.0, 1.0)
    one.plan(due=False, known=True)
    one.want()
    one.start()
    one.stop()
    assert one.take("full") is not None


def test_what_the_batch_ran_is_taken_once():
    layer = nn.Linear(3, 3)
    one = Watcher(layer, several_ranks=False)
    one.plan(due=True, known=False)
    one.start()
    layer(torch.ones(2, 3)).sum().backward()
    one.stop()
    seen = one.take("causal")
    # 2 rows x 3 x 3 multiply-adds, forward and for the weight.
    assert (seen.flops, seen.counted.attention, seen.all_pairs.attention) == (72, "causal", "full")
    assert one.take("causal") is None


def test_a_batch_that_was_not_watched_has_nothing_to_tell():
    one, _ = watcher()
    one.start()
    one.stop()
    assert one.take("full") is None


def test_what_could_not_be_counted_is_the_reason(monkeypatch):
    def result(self, attention):
        raise MeasurementError("no")

    one, _ = watcher()
    one.plan(due=True, known=False)
    one.start()
    one.stop()
    monkeypatch.setattr(module.StepCounter, "result", result)
    assert str(one.take("full")) == "no"


def test_the_first_batch_is_warm_up_and_costs_nothing():
    one, clock = watcher()
    run(one, clock, 100.0, 100.0)
    assert one.extra_seconds() == 0.0
    # Where no batch is unwatched, half of the time is taken for watching.
    run(one, clock, 4.0, 4.0, due=True)
    assert one.extra_seconds() == 2.0


def test_nothing_is_watched_where_torch_would_compile_again(monkeypatch):
    monkeypatch.setattr(module, "CAN_WATCH_COMPILED", False)
    monkeypatch.setattr(module, "compiles_anything", lambda: False)
    one, _ = watcher()
    assert one.why_not is None
    monkeypatch.setattr(module, "compiles_anything", lambda: True)
    assert one.why_not.endswith("cannot be watched where torch.compile is used; torch 2.10 and later can")
    one.plan(due=True, known=False)
    one.want()
    one.start()
    one.stop()
    assert one.take("full") is None


@pytest.mark.parametrize("counted", [False, True])
def test_a_watch_that_nobody_ended_ends_with_the_next_batch_and_at_the_end(counted):
    one, _ = watcher()
    for _ in range(3):
        one.plan(due=True, known=False)
        one.start()
        assert len(_get_current_dispatch_mode_stack()) == 1
        if counted:
            one.take("full")
            assert _get_current_dispatch_mode_stack() == []
    one.release()
    assert _get_current_dispatch_mode_stack() == []
