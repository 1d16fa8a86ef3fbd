"""Budgets of a run as its report tells them."""

import dataclasses

from flopwatch.report.standings import seconds_left, standings
from flopwatch.run.records import BudgetLine
from flopwatch.run.run_file import Segment
from tests import samples

EPOCHS = (BudgetLine(4.0, "epochs", "4 epochs"),)


def segment(*windows, end=None, **changes):
    return Segment(samples.start(budgets=EPOCHS, **changes), None, windows, (), end)


def used(*arguments, **named):
    (budget,) = standings(segment(*arguments, **named))
    return budget.fraction


def window(**changes):
    return dataclasses.replace(samples.window(11, 1020.0, 0), **changes)


def test_epochs_are_those_that_were_written_down_last():
    # 1.5 of 4, then 2 of 4; an end that tells nothing leaves the last window's.
    assert used(window(epochs=1.0), window(epochs=1.5)) == 0.375
    end = dataclasses.replace(samples.end(), epochs=2.0)
    assert used(window(epochs=1.5), end=end) == 0.5
    assert used(window(epochs=1.5), end=samples.end()) == 0.375


def test_older_files_say_how_long_the_first_epoch_was():
    last = window()
    assert used(last, batches_per_epoch=100) == last.totals.batches / 100 / 4
    assert used(last) is None


def test_a_run_that_has_finished_has_no_time_left():
    left = window(seconds_left=60.0, seconds_left_low=50.0, seconds_left_high=70.0)
    told = seconds_left(segment(left))
    assert (told.middle, told.low, told.high) == (60.0, 50.0, 70.0)
    assert seconds_left(segment(left, end=samples.end())) is None
