import json

from hypothesis import given
from hypothesis import strategies as st

from flopwatch.meter import Counts, Meter
from flopwatch.records import Totals

batches = st.lists(st.tuples(st.integers(0, 10**25), st.integers(0, 10**9), st.integers(0, 10**4)), max_size=20)


def test_batches_and_steps_add_up():
    meter = Meter()
    meter.add(100, 10, 2)
    meter.add(50, 5, 1)
    meter.step()
    assert meter.take() == Counts(150, 15, 3, batches=2, steps=1)
    assert meter.take() == Counts()


def test_an_uncounted_batch_makes_its_total_unknown_for_good():
    meter = Meter()
    meter.add(None, 10, 2)
    meter.add(50, 5, 1)
    assert meter.take() == Counts(None, 15, 3, batches=2)
    meter.book(Counts(None, 15, 3, 2, 0), 1.0, 4)
    meter.book(Counts(50, 5, 1, 1, 0), 1.0, 4)
    assert meter.totals == Totals(
        None, 20, 4, batches=3, seconds=2.0, device_seconds=8.0, hardware_flops=0, useful_tokens=0, joules=0
    )


def test_energy_is_booked_and_unknown_once_a_part_is():
    meter = Meter()
    meter.book(meter.take(joules=700), 1.0, 1)
    assert meter.totals.joules == 700
    meter.book(meter.take(joules=None), 1.0, 1)
    meter.book(meter.take(joules=700), 1.0, 1)
    assert meter.totals.joules is None


def test_lost_flops_are_unknown_and_the_rest_is_kept():
    meter = Meter()
    meter.add(100, 10, 2)
    meter.lose_flops()
    meter.step(2)
    assert meter.take() == Counts(None, 10, 2, batches=1, steps=2, hardware_flops=None)


@given(batches, st.integers(0, 20))
def test_a_run_split_by_a_checkpoint_equals_the_run_in_one(work, split):
    def book(meter, part):
        for amounts in part:
            meter.add(*amounts)
            meter.step()
        meter.book(meter.take(), float(len(part)), 8)

    whole = Meter()
    book(whole, work)
    first = Meter()
    book(first, work[:split])
    resumed = Meter()
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    book(resumed, work[split:])
    assert resumed.totals == whole.totals


def test_a_state_of_another_version_is_read_as_far_as_it_is_known():
    meter = Meter()
    meter.load_state_dict({"flops": 7, "dreams": 3})
    assert meter.totals == Totals(flops=7)
