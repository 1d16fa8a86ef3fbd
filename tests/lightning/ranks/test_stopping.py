"""One decision for all: ranks as threads over a store of this process, with training and side threads apart."""

import threading
import time

import pytest
import torch.distributed as dist

from flopwatch.lightning.ranks import stopping
from flopwatch.lightning.ranks.publishing import OwnRecord, RankReading
from flopwatch.lightning.ranks.reading import Reader
from flopwatch.lightning.ranks.stopping import Chair, StopVote

KEYS = [f"rank/{rank}" for rank in range(4)]
VERSION = "0.2.0"


class Rank:
    """One rank: `train` on a thread of the test, `listen` as its side thread does."""

    def __init__(self, store, rank, deaf_seconds=0.0):
        self.store, self.rank = store, rank
        self.vote = StopVote("stop")
        self.record = OwnRecord(VERSION, lambda window: RankReading())
        reader = Reader(KEYS, VERSION) if rank == 0 else None
        self.chair = Chair(self.vote, reader) if reader is not None else None
        self.hears_at = time.monotonic() + deaf_seconds
        self.over, self.stopped_at = False, None
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        while not self.over:
            if time.monotonic() > self.hears_at and self.vote.listen(self.store):
                self.record.touch()
            payload = self.record.take(self.vote.agreed, self.vote.refused)
            if payload is not None:
                self.store.set(KEYS[self.rank], payload)
            if self.chair is not None and self.chair.is_at_work():
                self.chair.look(self.store)
            time.sleep(0.002)

    def train(self, steps, pace=0.005, aim_at=None):
        for step in range(1, steps + 1):
            time.sleep(pace)
            self.vote.note(step)
            if self.chair is not None:
                self.chair.aim_again(step, pace)
                if step == aim_at:
                    self.chair.aim(step + 2, step, pace, 0.05)
            if self.vote.must_stop(step):
                self.stopped_at = step
                break
        self.over = True


def run(ranks, steps=400, paces=(0.005,) * 4, aim_at=10):
    threads = [
        threading.Thread(target=rank.train, args=(steps, pace, aim_at)) for rank, pace in zip(ranks, paces, strict=True)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert not any(each.is_alive() for each in threads)
    return {rank.stopped_at for rank in ranks}


def test_all_stop_at_the_same_step():
    store = dist.HashStore()
    (step,) = run([Rank(store, rank) for rank in range(4)])
    # Proposed at step 10: 0.05 s ahead are ten steps of 5 ms.
    assert step >= 20


def test_ranks_of_other_paces_stop_at_the_same_step():
    store = dist.HashStore()
    (step,) = run([Rank(store, rank) for rank in range(4)], paces=(0.003, 0.006, 0.004, 0.005))
    assert step is not None


def test_a_rank_that_was_past_the_step_refuses_and_all_stop_later():
    store = dist.HashStore()
    # The last one is four times as fast: at the first proposal it is past the step.
    (step,) = run([Rank(store, rank) for rank in range(4)], paces=(0.008, 0.008, 0.008, 0.002), steps=4000)
    assert step > 20


def test_a_rank_that_hears_late_holds_the_others_up_for_as_long_as_they_may_wait(monkeypatch):
    monkeypatch.setattr(stopping, "PATIENCE_SECONDS", 0.3)
    store = dist.HashStore()
    ranks = [Rank(store, rank) for rank in range(3)] + [Rank(store, 3, deaf_seconds=1.0)]
    (step,) = run(ranks, steps=4000)
    assert step is not None


def test_a_rank_without_flopwatch_is_named_and_nobody_waits(caplog):
    store = dist.HashStore()
    ranks = [Rank(store, rank) for rank in range(3)]
    started = time.monotonic()
    assert run(ranks, steps=60, paces=(0.005,) * 3) == {None}
    assert time.monotonic() - started < 5
    assert caplog.messages == [
        "training continues past the budget, since not all ranks can be told to stop: rank 3 published nothing (is"
        " FlopWatch among its callbacks?)"
    ]


@pytest.mark.parametrize("first", ["stop", "go on"])
def test_whoever_writes_first_has_decided(first):
    store = dist.HashStore()
    one, two = StopVote("stop"), StopVote("stop")
    assert one.decide(store, 1, stop=first == "stop") is (first == "stop")
    assert two.decide(store, 1, stop=first != "stop") is (first == "stop")


def test_a_store_that_is_gone_holds_training_up_for_seconds_only(monkeypatch):
    monkeypatch.setattr(stopping, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(stopping, "_MOMENT_SECONDS", 0.1)
    store, vote = dist.HashStore(), StopVote("stop")
    vote.propose(store, stopping.Proposal(1, 3))
    assert vote.listen(store)
    vote.note(3)
    started = time.monotonic()
    assert not vote.must_stop(3)
    assert time.monotonic() - started < 2
    assert not vote.must_stop(4)
