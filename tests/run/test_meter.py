import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopwatch.run.meter import NOTHING_DONE, Amounts, Counts, Mark, Meter, between, totals_from, totals_of
from flopwatch.run.records import Totals

batches = st.lists(st.tuples(st.integers(0, 10**25), st.integers(0, 10**9), st.integers(0, 10**4)), max_size=20)
NOTHING_YET = Totals(hardware_flops=0, useful_tokens=0, joules=0)


def book(initial, meter, seconds=1.0, devices=4, joules=0, **kinds):
    work = between(NOTHING_DONE, meter.mark())
    return totals_of(initial, work, seconds=seconds, devices=devices, joules=joules, seconds_by_kind=kinds)


def test_batches_and_steps_add_up():
    meter = Meter()
    meter.add(Amounts(100, 10, 2, 130, 9))
    before = meter.mark()
    meter.add(Amounts(50, 5, 1, 70, 5))
    meter.step()
    assert between(NOTHING_DONE, meter.mark()) == Counts(150, 15, 3, 2, 1, hardware_flops=200, useful_tokens=14)
    assert between(before, meter.mark()) == Counts(50, 5, 1, 1, 1, hardware_flops=70, useful_tokens=5)
    assert between(meter.mark(), meter.mark()) == Counts()


def test_an_uncounted_batch_makes_what_it_is_part_of_unknown_and_nothing_else():
    meter = Meter()
    meter.add(Amounts(None, 10, 2))
    before = meter.mark()
    meter.add(Amounts(50, 5, 1))
    assert between(NOTHING_DONE, meter.mark()) == Counts(None, 15, 3, batches=2)
    assert between(before, meter.mark()) == Counts(50, 5, 1, batches=1)


def test_what_is_not_known_of_a_batch_is_not_known_of_what_it_is_part_of():
    meter = Meter()
    meter.add(Amounts(100, 10, 2))
    meter.add(Amounts(None, 10, 2, None))
    meter.step(2)
    assert between(NOTHING_DONE, meter.mark()) == Counts(None, 20, 4, batches=2, steps=2, hardware_flops=None)


def test_ranks_that_share_a_batch_count_it_once():
    rank = Meter()
    rank.add(Amounts(100, 10, 2))
    mark = rank.mark()
    # Four ranks, two of which share each batch: two batches' work.
    known, unknown = (tuple(4 * each for each in part) for part in (mark.known, mark.unknown))
    assert between(NOTHING_DONE, Mark(known, unknown, 1, 1), ranks_per_replica=2).flops == 200


def test_energy_and_kinds_of_time_go_on_from_those_before():
    meter = Meter()
    meter.add(Amounts(100, 10, 2))
    first = book(NOTHING_YET, meter, seconds=3.0, devices=4, joules=700, training=2.0, setup=1.0)
    assert (first.joules, first.device_seconds) == (700, 12.0)
    second = book(first, meter, seconds=5.0, devices=2, joules=300, training=5.0)
    assert (second.flops, second.joules, second.seconds, second.device_seconds) == (200, 1000, 8.0, 22.0)
    assert second.seconds_by_kind == {"training": 7.0, "setup": 1.0}
    assert book(second, meter, joules=None).joules is None


@given(batches, st.integers(0, 20))
def test_a_run_split_by_a_checkpoint_equals_the_run_in_one(work, split):
    def run(initial, part):
        meter = Meter()
        for amounts in part:
            meter.add(Amounts(*amounts))
            meter.step()
        return book(initial, meter, float(len(part)), 8)

    first = run(NOTHING_YET, work[:split])
    resumed = run(totals_from(json.loads(json.dumps(asdict(first)))), work[split:])
    assert resumed == run(NOTHING_YET, work)


@pytest.mark.parametrize("state", [{"flops": 7, "dreams": 3}])
def test_a_state_of_another_version_is_read_as_far_as_it_is_known(state):
    assert totals_from(state) == Totals(flops=7)
