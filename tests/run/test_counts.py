"""Work that is added and taken away; what is not known stays so."""

from hypothesis import given
from hypothesis import strategies as st

from flopwatch.run.counts import UNKNOWN, Counts, values

amounts = st.none() | st.integers(0, 10**25)
counts = st.builds(Counts, *[amounts] * 5, batches=st.integers(0, 10**6), steps=st.integers(0, 10**6))


def test_a_sum_and_a_difference_by_hand():
    one, more = Counts(100, 10, 2, 130, 9, 1, 1), Counts(50, 5, 1, 70, 5, batches=2)
    assert one + more == Counts(150, 15, 3, 200, 14, 3, 1)
    assert one - more == Counts(50, 5, 1, 60, 4, -1, 1)


def test_what_is_unknown_in_one_is_unknown_in_the_sum_and_nothing_else_is():
    assert Counts(None, 10, 2) + Counts(50, 5, 1) == Counts(None, 15, 3)
    assert Counts(50, 5, 1) - Counts(None, 5, 1) == Counts(None, 0, 0)


def test_of_unknown_work_batches_and_steps_are_left():
    assert Counts(5, 6, batches=2, steps=1) + UNKNOWN == Counts(None, None, None, None, None, batches=2, steps=1)


@given(counts, counts)
def test_what_was_added_can_be_taken_away_where_it_is_known(one, more):
    back, gone = values(one + more - more), values(more)
    assert back == tuple(mine if its is not None else None for mine, its in zip(values(one), gone, strict=True))
