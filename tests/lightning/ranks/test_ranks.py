"""Ranks of one process, where nothing is published, and of several without a store."""

import threading
import time
from importlib import metadata
from types import SimpleNamespace

import pytest
import torch.distributed as dist

from flopwatch.hardware.telemetry import Telemetry
from flopwatch.lightning.ranks import ranks as module
from flopwatch.lightning.ranks.publishing import RankReading, decode
from flopwatch.lightning.ranks.ranks import Ranks, ranks_per_replica
from flopwatch.run.counts import Counts
from flopwatch.run.meter import Mark

MARK = Mark(Counts(5, 4, 3, 2, 1, batches=2, steps=1))
READING = RankReading(Telemetry(5, 1.9e9), 700, "GPU-a")


def ranks(rank=0, world_size=1):
    return Ranks(SimpleNamespace(), rank, world_size)


def test_one_process_is_its_own_sum_at_once():
    one = ranks()
    one.start(lambda window: READING, stops=False)
    pending = one.sum_at(3, MARK, 0.0, window=True)
    assert pending.done.is_set()
    assert (pending.value.work, pending.value.joules, pending.value.telemetry) == (MARK, 700, READING.telemetry)
    assert "flopwatch-ranks" not in {each.name for each in threading.enumerate()}


def test_one_process_ends_windows_by_its_own_time_and_stops_where_it_likes():
    one = ranks()
    assert [one.ends_window(3, 3, seconds, 10.0) for seconds in (9.9, 10.0)] == [False, True]
    assert not one.aims_to_stop
    one.aim_to_stop(7, 3, 1.0)
    one.aim_to_stop(9, 3, 1.0)
    assert one.aims_to_stop
    assert [one.must_stop(step, 1.0) for step in (6, 7)] == [False, True]


def test_several_end_windows_at_round_steps():
    one = ranks(world_size=2)
    # A second a step, seven are the least: the roundest steps are multiples of four.
    assert [step for step in range(1, 13) if one.ends_window(step, step, float(step), 10.0)] == [8, 12]


def test_without_a_store_the_first_one_says_so_and_sums_are_unknown(caplog):
    first, second = ranks(0, 2), ranks(1, 2)
    for each in (first, second):
        each.start(lambda window: READING, stops=True)
        each.note(1, MARK, 0.0)
    words = "this strategy has no process group with a readable store"
    assert caplog.text.count(f"{words}; totals over all ranks are unknown") == 1
    pending = first.sum_at(1, MARK, 0.0)
    assert (pending.done.is_set(), pending.value, pending.why_unknown) == (True, None, words)
    assert not first.are_well()
    assert not first.must_stop(1, 1.0)
    first.finish()
    first.leave()


def test_a_process_that_has_no_thread_left_says_so(monkeypatch, caplog):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module, "jobs_store", dist.HashStore)
    monkeypatch.setattr(threading.Thread, "start", start)
    one = ranks(0, 2)
    one.start(lambda window: READING, stops=False)
    assert "rank 0 cannot publish: can't start new thread; totals over all ranks are unknown" in caplog.text
    assert one.sum_at(1, MARK, 0.0).why_unknown.startswith("rank 0 cannot publish")


@pytest.fixture
def two(monkeypatch):
    """Both ranks of a job, over one store in this process."""
    store = dist.HashStore()
    monkeypatch.setattr(module, "jobs_store", lambda: store)
    made = [ranks(0, 2), ranks(1, 2)]
    made[1]._base = made[0]._base
    for each in made:
        each.start(lambda window: READING, stops=False)
    yield made
    for each in made:
        each.finish()


def test_the_first_one_gets_the_sum_of_both_and_the_others_none(two):
    first, second = two
    for each in two:
        each.note(2, MARK, 0.0)
    assert second.sum_at(2, MARK, 0.0) is None
    pending = first.sum_at(2, MARK, 0.0)
    first.wait_for(pending, time.monotonic() + 10)
    assert pending.value.work.known == Counts(10, 8, 6, 4, 2, batches=2, steps=1)
    assert first.are_well()
    assert not second.are_well(), "only the first one reads"


def test_nobody_waits_for_ever_and_a_rank_that_left_is_the_reason(two):
    first, second = two
    first.note(1, MARK, 0.0)
    pending = first.sum_at(1, MARK, 0.0)
    first.wait_for(pending, time.monotonic())
    assert (pending.value, pending.done.is_set()) == (None, True)
    second.leave("failed in flopwatch")
    again = first.sum_at(1, MARK, 0.0)
    assert again.done.wait(10)
    assert again.why_unknown == "rank 1 failed in flopwatch"


class SlowStore:
    """A store whose first write lasts until it is let go."""

    def __init__(self):
        self.writes, self.entered, self.release = [], threading.Event(), threading.Event()

    def set(self, key, payload):
        self.writes.append(decode(payload, metadata.version("flopwatch")))
        self.entered.set()
        self.release.wait(10)


def test_what_is_noted_while_the_store_is_slow_is_published_at_the_end(monkeypatch):
    store = SlowStore()
    monkeypatch.setattr(module, "jobs_store", lambda: store)
    one = ranks(1, 2)
    one.start(lambda window: READING, stops=False)
    assert store.entered.wait(10)
    one.leave("failed in flopwatch")
    store.release.set()
    one._side._thread.join(10)
    assert [each.left for each in store.writes] == [None, "failed in flopwatch"]


@pytest.mark.parametrize(("stated", "expected"), [(4, 1), (2, 2), (1, 4), (3, 0), (None, 1)])
def test_an_answer_that_is_no_divisor_is_no_answer(stated, expected):
    strategy = (
        SimpleNamespace() if stated is None else SimpleNamespace(distributed_sampler_kwargs={"num_replicas": stated})
    )
    assert ranks_per_replica(strategy, 4) == expected
