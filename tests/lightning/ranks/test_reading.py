"""What the first rank makes of what is there, over a store in this process."""

import time

import msgspec
import pytest
import torch.distributed as dist

from flopwatch.hardware.telemetry import Telemetry
from flopwatch.lightning.ranks import reading
from flopwatch.lightning.ranks.marks import StepMark
from flopwatch.lightning.ranks.publishing import SCHEMA, OwnRecord, RankReading, UnreadableRecord, decode
from flopwatch.lightning.ranks.reading import Reader
from flopwatch.run.counts import Counts
from flopwatch.run.meter import Mark

VERSION = "0.2.0"


class Job:
    """Ranks that publish into a store of this process."""

    def __init__(self, count, readings=None, per_replica=1):
        self.store = dist.HashStore()
        self.keys = [f"rank/{rank}" for rank in range(count)]
        self.reader = Reader(self.keys, VERSION, per_replica)
        self.own = {}
        readings = readings or [RankReading()] * count
        self.records = [OwnRecord(VERSION, lambda window, one=one: one) for one in readings]

    def does(self, rank, step, flops=None, own_seconds=0.0, window=True):
        """A rank does a step and publishes it; every step is worth 10**22 times its number plus one."""
        flops = step * 10**22 * (rank + 1) if flops is None else flops
        known = Counts(max(flops, 0), step, step, max(flops, 0), step, batches=step, steps=step)
        mark = StepMark(step, Mark(known, {"flops": 1} if flops == -1 else {}), own_seconds)
        if rank == 0:
            self.own[step] = mark
        self.records[rank].note(mark)
        self.records[rank].keep(step, window=window)
        self.publish(rank)

    def publish(self, rank):
        payload = self.records[rank].take(0, 0)
        if payload is not None:
            self.store.set(self.keys[rank], payload)

    def ask(self, step, window=True):
        """The first rank asks at a step that it has just done."""
        pending = self.reader.ask(self.own[step], window=window)
        self.reader.look(self.store)
        return pending


def test_a_sum_is_exact_and_settled_when_the_last_one_has_published():
    job = Job(3)
    for rank in (0, 2):
        job.does(rank, 4)
    pending = job.ask(4)
    assert not pending.done.is_set()
    job.does(1, 4)
    job.reader.look(job.store)
    # 4 * 10**22 * (1 + 2 + 3), beyond 64 bits; tokens 4 of each; batches and steps of the first rank.
    assert pending.value.work == Mark(Counts(24 * 10**22, 12, 12, 24 * 10**22, 12, batches=4, steps=4))


def test_who_is_ahead_is_summed_at_the_step_that_is_asked_for():
    job = Job(2)
    job.does(0, 4)
    for step in (2, 4, 6):
        job.does(1, step)
    assert job.ask(4).value.work.known.flops == 4 * 10**22 * 3


def test_ranks_of_one_replica_count_a_batch_once():
    job = Job(4, per_replica=2)
    for rank in range(4):
        job.does(rank, 2, flops=100)
    # Four ranks, two of which share each batch: two batches' work.
    work = job.ask(2).value.work.known
    assert (work.flops, work.tokens, work.batches, work.steps) == (200, 4, 2, 2)


def test_what_one_rank_does_not_know_is_counted_as_unknown():
    job = Job(2)
    job.does(0, 2)
    job.does(1, 2, flops=-1)
    assert job.ask(2).value.work.unknown == {"flops": 1}


def test_a_rank_that_passed_the_step_by_makes_only_that_sum_unknown():
    job = Job(2)
    for step in range(1, 30):
        job.does(0, step)
        if step > 20:
            job.does(1, step)
    passed = job.ask(10)
    assert passed.done.is_set()
    assert passed.passed_over
    assert passed.value is None
    assert passed.why_unknown == "rank 1 moved on without recording its work at step 10"
    assert job.ask(29).value is not None


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (msgspec.json.encode({"schema": 99, "version": "7.0"}), "rank 1 runs flopwatch 7.0, the first rank 0.2.0"),
        (b"\x00\xff", "rank 1 published something other than a flopwatch record"),
        (b"{}", "rank 1 published something other than a flopwatch record"),
        (
            msgspec.json.encode({"schema": SCHEMA, "version": "0.2.1", "marks": 7}),
            "rank 1 runs flopwatch 0.2.1, the first rank 0.2.0",
        ),
    ],
)
def test_a_record_that_is_not_ours_makes_the_sum_absent_and_names_the_rank(payload, why):
    job = Job(3)
    for step in (1, 2):
        job.does(0, step)
        job.does(2, step)
    job.store.set(job.keys[1], payload)
    pending = job.ask(1)
    assert (pending.value, pending.why_unknown) == (None, why)
    assert job.ask(2).why_unknown == why


def test_a_rank_that_left_is_named():
    job = Job(2)
    job.does(0, 1)
    job.records[1].leave("failed in flopwatch")
    job.publish(1)
    assert job.ask(1).why_unknown == "rank 1 failed in flopwatch"
    assert job.reader.why_not_all() == "rank 1 failed in flopwatch"


def test_silent_ranks_are_given_up_on_and_heard_again(monkeypatch):
    monkeypatch.setattr(reading, "PATIENCE_SECONDS", 0.0)
    job = Job(6)
    job.does(0, 1)
    job.does(5, 1)
    job.does(5, 2)
    pending = job.ask(1)
    time.sleep(0.01)
    job.reader.look(job.store)
    words = "ranks 1, 2, 3 and 1 more published nothing (is FlopWatch among its callbacks?)"
    assert (pending.value, pending.why_unknown) == (None, words)
    for rank in range(5):
        job.does(rank, 2)
    total = job.ask(2).value
    assert total.work.known.tokens == 12
    # How they compare is not known over a window whose begin is not.
    assert total.slowest is None


def test_nothing_is_waited_for_where_nothing_can_be_read():
    job = Job(2)
    job.does(0, 1)
    pending = job.ask(1)
    job.reader.fail_all("the store is gone")
    assert (pending.done.is_set(), pending.value, pending.why_unknown) == (True, None, "the store is gone")


def test_the_rank_with_the_most_time_of_its_own_since_the_last_window_is_named():
    job = Job(3)
    for rank, own in enumerate((1.0, 3.0, 3.0)):
        job.does(rank, 1, own_seconds=own)
    first = job.ask(1).value
    # Of equally slow ones the lowest; (1 + 3 + 3) / 3 on average.
    assert (first.slowest, first.slowest_seconds) == (1, 3.0)
    assert first.mean_seconds == pytest.approx(7 / 3)
    for rank, own in enumerate((1.5, 3.25, 4.0)):
        job.does(rank, 2, own_seconds=own)
    second = job.ask(2).value
    assert (second.slowest, second.slowest_seconds) == (2, 1.0)


def test_a_checkpoints_sum_leaves_the_windows_pace_alone():
    job = Job(2)
    for step, window in ((1, False), (2, True)):
        for rank in range(2):
            job.does(rank, step, own_seconds=step * (rank + 1.0), window=window)
        total = job.ask(step, window=window).value
    assert (total.slowest, total.slowest_seconds) == (1, 4.0)


def test_a_gpu_of_two_ranks_has_its_energy_and_power_counted_once():
    def reads(gpu, joules, watts, clock):
        return RankReading(Telemetry(5, clock, clock, power_watts=watts), joules, gpu)

    shared = [reads("GPU-a", 100, 700.0, 1.8e9), reads("GPU-a", 101, 701.0, 1.8e9), reads("GPU-b", 50, 500.0, 1.5e9)]
    job = Job(3, shared)
    for rank in range(3):
        job.does(rank, 1)
    total = job.ask(1).value
    assert (total.joules, total.telemetry.power_watts) == (150, 1200.0)
    # Clocks are the mean of the ranks, as before.
    assert total.telemetry.sm_clock_hz == pytest.approx(1.7e9)
    assert total.telemetry.sm_clock_hz_min == 1.5e9


def test_energy_that_one_rank_does_not_know_the_run_does_not_know():
    job = Job(2, [RankReading(joules=5), RankReading(joules=None)])
    for rank in range(2):
        job.does(rank, 1)
    assert job.ask(1).value.joules is None


def test_a_record_is_small_whatever_the_run_is():
    record = OwnRecord(
        VERSION, lambda window: RankReading(Telemetry(10, 1.9e9, 1.8e9, power_watts=700.0), 10**10, "GPU")
    )
    mark = Mark(Counts(10**24, 10**13, 10**10, 10**24, 10**13, batches=10**9, steps=10**9))
    for step in range(10**6, 10**6 + 5000):
        record.note(StepMark(step, mark, 1e6))
    record.keep(10**6 + 5000, window=True)
    payload = record.take(0, 0)
    assert len(payload) < 4096
    assert decode(payload, VERSION).marks[-1].work.known.flops == 10**24
    with pytest.raises(UnreadableRecord):
        decode(payload[:-7], VERSION)
