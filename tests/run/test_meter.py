import json

from hypothesis import given
from hypothesis import strategies as st

from flopwatch.run.counts import Counts
from flopwatch.run.flat_totals import flat, totals_from
from flopwatch.run.meter import Mark, Meter, of_all_ranks, totals_of
from flopwatch.run.records import Totals

batches = st.lists(st.tuples(st.integers(0, 10**25), st.integers(0, 10**9), st.integers(0, 10**4)), max_size=20)
NOTHING_YET = Totals(joules=0)


def book(initial, meter, seconds=1.0, devices=4, joules=0, **kinds):
    work = meter.mark().all()
    return totals_of(initial, work, seconds=seconds, devices=devices, joules=joules, seconds_by_kind=kinds)


def test_batches_and_steps_add_up():
    meter = Meter()
    meter.add(Counts(100, 10, 2, 130, 9, batches=1))
    before = meter.mark()
    meter.add(Counts(50, 5, 1, 70, 5, batches=1, steps=1))
    assert meter.mark().all() == Counts(150, 15, 3, 200, 14, batches=2, steps=1)
    assert meter.mark().since(before) == Counts(50, 5, 1, 70, 5, batches=1, steps=1)
    assert meter.mark().since(meter.mark()) == Counts()


def test_an_uncounted_batch_makes_what_it_is_part_of_unknown_and_nothing_else():
    meter = Meter()
    meter.add(Counts(None, 10, 2, None))
    before = meter.mark()
    meter.add(Counts(50, 5, 1, 50))
    assert meter.mark().all() == Counts(None, 15, 3, None)
    assert meter.mark().since(before) == Counts(50, 5, 1, 50)
    assert before.all() == Counts(None, 10, 2, None), "a mark stays as it was"


def test_all_ranks_together_count_a_shared_batch_once():
    rank = Mark(Counts(100, 10, 2, batches=1, steps=1))
    blind = Mark(Counts(0, 10, 2, batches=1, steps=1), {"flops": 1})
    # Four ranks, two of which share each batch: two batches' work; batches and steps are those of one rank.
    assert of_all_ranks([rank] * 4, 2) == Mark(Counts(200, 20, 4, batches=1, steps=1))
    assert of_all_ranks([rank, blind], 1).all() == Counts(None, 20, 4, batches=1, steps=1)


def test_energy_and_kinds_of_time_go_on_from_those_before():
    meter = Meter()
    meter.add(Counts(100, 10, 2))
    first = book(NOTHING_YET, meter, seconds=3.0, devices=4, joules=700, training=2.0, setup=1.0)
    assert (first.joules, first.device_seconds) == (700, 12.0)
    second = book(first, meter, seconds=5.0, devices=2, joules=300, training=5.0)
    assert (second.counts.flops, second.joules, second.seconds, second.device_seconds) == (200, 1000, 8.0, 22.0)
    assert second.seconds_by_kind == {"training": 7.0, "setup": 1.0}
    assert book(second, meter, joules=None).joules is None


@given(batches, st.integers(0, 20))
def test_a_run_split_by_a_checkpoint_equals_the_run_in_one(work, split):
    def run(initial, part):
        meter = Meter()
        for amounts in part:
            meter.add(Counts(*amounts, batches=1, steps=1))
        return book(initial, meter, float(len(part)), 8)

    first = run(NOTHING_YET, work[:split])
    resumed = run(totals_from(json.loads(json.dumps(flat(first)))), work[split:])
    assert resumed == run(NOTHING_YET, work)
