import pytest

from flopwatch.lightning.ranks.reading import PendingSum
from flopwatch.lightning.session.checkpoint_totals import CheckpointTotals, SavedAt, kept_work
from tests.lightning.fakes import mark


def saved(step):
    return SavedAt(step, mark(step, step, step), float(step), {}, PendingSum(step, False))


def test_checkpoints_come_in_order_as_soon_as_all_is_known_of_them():
    totals, first, second = CheckpointTotals(), saved(1), saved(2)
    for each in (first, second):
        totals.wait_for(each)
    second.sum.settle(None, "gone")
    assert list(totals.known()) == []
    assert totals.sums() == [first.sum, second.sum]
    first.sum.settle(None, "gone")
    assert list(totals.known()) == [first, second]
    assert (list(totals.known()), totals.sums()) == ([], [])


def test_one_of_which_all_was_known_at_once_waits_for_nobody():
    totals, one = CheckpointTotals(), saved(1)
    one.sum.settle(None)
    totals.wait_for(one)
    assert list(totals.known()) == []


@pytest.mark.parametrize(
    ("batches", "accumulated", "kept"),
    [
        (8, 4, 8),  # at a step's end
        (9, 4, 8),  # the ninth batch's gradients are not in the checkpoint
        (9, 1, 9),  # a batch that was skipped or waits for its lengths is kept, since no gradients are
    ],
)
def test_batches_of_a_step_that_is_not_finished_are_in_vain(batches, accumulated, kept):
    assert kept_work(mark(batches, batches, 2), mark(8, 8, 2), accumulated).known.batches == kept
