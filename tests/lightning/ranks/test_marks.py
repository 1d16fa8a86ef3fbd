"""Steps that all ranks have in common, whatever their paces."""

from hypothesis import given
from hypothesis import strategies as st

from flopwatch.lightning.ranks.marks import RecentMarks, StepMark, ends_window
from flopwatch.run.counts import Counts
from flopwatch.run.meter import Mark

MARK = Mark(Counts(1, 2, 3, 4, 5, batches=1, steps=1))


def steps_of(marks, window_steps):
    return {each.step for each in marks.published(window_steps)}


def after(last, window_steps=1, kept=()):
    marks = RecentMarks()
    for step in range(1, last + 1):
        marks.note(StepMark(step, MARK, 0.0))
        if step in kept:
            marks.keep()
    return steps_of(marks, window_steps)


def test_the_last_two_steps_of_each_roundness_are_published():
    # Odd: 9 and 11; twice an odd number: 6 and 10; four times: 4 and 12; eight times: 8.
    assert after(12) == {4, 6, 8, 9, 10, 11, 12}


def test_steps_far_less_round_than_a_window_are_not():
    # A window of 64 steps: multiples of 64 / 2 and rounder ones.
    assert all(step % 32 == 0 for step in after(1000, 64))


def test_what_is_kept_by_name_is_published_whatever_it_is():
    assert {3, 7} <= after(1000, 64, kept=(3, 7))


@given(st.integers(1, 3000), st.integers(0, 700))
def test_ranks_apart_have_a_step_in_common_that_is_not_long_ago(behind, apart):
    common = after(behind, 1 << max(apart.bit_length() - 1, 0)) & after(behind + apart, 1 << apart.bit_length())
    # The rank behind has every step from the start on, so where it has just begun there may be none.
    assert max(common, default=0) >= behind - 4 * max(apart, 1) or behind < 4 * apart


@given(st.integers(1, 5000), st.floats(0.001, 3.0), st.floats(0.995, 1.005))
def test_windows_of_two_clocks_end_at_steps_that_the_other_has(first, pace, drift):
    """Both ranks do each step together; the second one's clock is a little off, and its windows begin elsewhere."""
    ends = []
    for clock, begin in ((1.0, first), (drift, first + 1)):
        step = begin
        while True:
            step += 1
            if ends_window(step, step - begin, (step - begin) * pace * clock, 10.0):
                break
        ends.append(step)
    shortest, longest = min(ends) - first, max(ends) - first
    assert longest * pace <= 14.1 + 2 * pace
    assert shortest * pace >= 7.0 * 0.99 - pace
    # When the second one publishes, its marks hold the first one's end.
    marks = RecentMarks()
    for step in range(max(ends[0] - 50, 1), ends[1] + 1):
        marks.note(StepMark(step, MARK, 0.0))
    if ends[1] >= ends[0]:
        assert ends[0] in steps_of(marks, ends[1] - first)


def test_a_window_is_never_shorter_than_seven_tenths_nor_empty():
    assert not ends_window(64, 10, 6.9, 10.0)
    assert ends_window(64, 10, 7.1, 10.0)
    assert not ends_window(64, 0, 100.0, 10.0)
    # Seven seconds are seven steps: multiples of four end a window, others do not.
    assert [ends_window(step, 10, 10.0, 10.0) for step in (61, 62, 63, 64)] == [False, False, False, True]
