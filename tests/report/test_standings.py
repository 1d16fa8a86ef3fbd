"""Budgets of a run as its report tells them."""

import dataclasses

from flopwatch.report.render.facts import budget_lines
from flopwatch.report.standings import seconds_left, standings, standings_of
from flopwatch.run.records import BudgetLine, BudgetShare
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
    assert used(last, batches_per_epoch=100) == last.totals.counts.batches / 100 / 4
    assert used(last) is None


def test_a_run_that_has_finished_has_no_time_left():
    left = window(seconds_left=60.0, seconds_left_low=50.0, seconds_left_high=70.0)
    told = seconds_left(segment(left))
    assert (told.middle, told.low, told.high) == (60.0, 50.0, 70.0)
    assert seconds_left(segment(left, end=samples.end())) is None


def test_every_budget_has_a_line_with_its_time_left():
    shares = (BudgetShare(0.25, 5400.0, 5000.0, 6000.0), BudgetShare(0.5, 60.0, 60.0, 60.0), BudgetShare())
    lines = (
        BudgetLine(8.0, "steps", "8 steps"),
        BudgetLine(120.0, "seconds", "2m 00s"),
        BudgetLine(1, "flops", "1 FLOPs"),
    )
    told = standings_of(lines, window(budgets=shares))
    assert budget_lines(told) == [
        ("budget of 8 steps", "25.0% used, 1h 30m left (80% interval 1h 23m to 1h 40m)"),
        ("budget of 2m 00s", "50.0% used, 1m 00s left"),
        ("budget of 1 FLOPs", "n/a used"),
    ]
    assert standings_of(lines, window()) == ()


def test_a_run_that_goes_on_has_the_time_left_of_each_budget():
    left = window(epochs=1.0, budgets=(BudgetShare(0.25, 60.0, 50.0, 70.0),))
    (going,), (ended,) = standings(segment(left)), standings(segment(left, end=samples.end()))
    assert (going.left.middle, going.left.low, going.left.high) == (60.0, 50.0, 70.0)
    assert ended.left is None
