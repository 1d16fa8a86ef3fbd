"""The budgets of a fit, with a Trainer that is a plain object."""

import math
from types import SimpleNamespace

import pytest

from flopwatch.lightning.output.fit_budgets import Bounds, Spending, ends_with_an_epoch
from flopwatch.run.budget import Budget
from flopwatch.run.counts import UNKNOWN, Counts
from flopwatch.run.records import Totals
from tests import samples
from tests.lightning.fakes import trainer

STEPS, TOKENS, TIME = Budget(100, "steps"), Budget(40_000, "tokens"), Budget(3600.0, "seconds")


def bounds(*budgets, one=None, initial=Totals(), elapsed=0.0, **spending):  # noqa: B008
    return Bounds(one or trainer(), budgets, initial, elapsed, Spending(**{"devices": 2, **spending}))


def window(step, **changes):
    """Ten steps in ten seconds without a pause, of 400 tokens each; ten seconds of wall time."""
    counts = Counts(flops=10, tokens=400 * step, batches=step, steps=step)
    totals = Totals(counts, seconds=float(step), device_seconds=2.0 * step)
    values = {"wall_seconds": 10.0, "pause_seconds": {}, "totals": totals, "epochs": step / 10}
    return samples.window(step, 1000.0 + step, **{**values, **changes})


def timer(seconds):
    Timer = type("Timer", (), {"time_remaining": lambda self, stage: seconds})
    return Timer()


@pytest.mark.parametrize(
    ("changes", "budgets"),
    [
        ({}, ()),
        ({"max_steps": 100}, (STEPS,)),
        ({"max_epochs": 3}, (Budget(3.0, "epochs"),)),
        ({"max_epochs": -1}, ()),
        # 500 s of an earlier process and 20 of this one are used up, 100 are left.
        ({"callbacks": [SimpleNamespace(), timer(100.0)]}, (Budget(620.0, "seconds"),)),
        ({"callbacks": [timer(None)]}, ()),
    ],
)
def test_without_budgets_of_the_users_the_trainers_limits_count(changes, budgets):
    made = bounds(one=trainer(**changes), initial=Totals(seconds=500.0), elapsed=20.0)
    assert (made.budgets, made.are_users) == (budgets, False)
    assert made.last_step == (100 if budgets == (STEPS,) else None)


def test_the_users_go_before_and_the_trainers_steps_are_foreseen_beside_them():
    made = bounds(TOKENS, one=trainer(max_steps=50, max_epochs=3))
    assert made.budgets == (TOKENS,)
    assert {each.budget for each in made.project(window(10))} == {TOKENS, Budget(50, "steps")}
    assert made.last_step is None


def test_tokens_per_parameter_become_tokens_where_parameters_are_known(caplog):
    chinchilla = Budget(20, "tokens_per_parameter")
    assert bounds(chinchilla, parameters=1000).budgets == (Budget(20_000, "tokens"),)
    assert bounds(chinchilla, STEPS).budgets == (STEPS,)
    assert "ignoring the budget of " in caplog.text
    caplog.clear()
    bounds(chinchilla, one=trainer(is_global_zero=False))
    assert caplog.text == "", "the first rank says it for all"


def test_the_nearest_budget_comes_first_with_what_is_left_at_the_pace_so_far():
    made = bounds(STEPS, TOKENS, TIME)
    for step in (10, 20):
        made.add(window(step))
    projections = made.project(window(20))
    # 80 steps of a second, 32,000 tokens of 400 a second, and 3,580 s.
    assert [(each.budget.unit, each.fraction) for each in projections] == [
        *(("steps", 0.2), ("tokens", 0.2)),
        ("seconds", pytest.approx(20 / 3600)),
    ]
    assert [each.seconds_left for each in projections] == pytest.approx([80.0, 80.0, 3580.0])


def test_warm_up_teaches_no_pace():
    made = bounds(STEPS)
    made.add(window(1, first=True, wall_seconds=500.0))
    assert made.project(window(1))[0].seconds_left is None


def test_pauses_are_kept_out_of_the_pace_and_count_for_energy():
    made = bounds(STEPS, Budget(24_000.0, "joules"))
    # Ten seconds of training and two of validation; 1,200 W in all of the twelve: 14,400 J.
    made.add(window(10, wall_seconds=12.0, pause_seconds={"validation": 2.0}))
    left = {
        each.budget.unit: each.seconds_left
        for each in made.project(window(10, totals=Totals(Counts(steps=10), joules=14_400)))
    }
    assert left["joules"] == pytest.approx(8.0)
    # Ninety steps of a second, and what comes back of the pause.
    assert 90.0 <= left["steps"] <= 90.0 + 9 * 2.0 + 2.0


def test_money_and_device_time_go_by_the_clock():
    made = bounds(Budget(7200.0, "device_seconds"), Budget(10.0, "usd"), usd_per_device_hour=5.0)
    totals = Totals(seconds=900.0, device_seconds=1800.0)
    left = {each.budget.unit: each.seconds_left for each in made.project(window(10, totals=totals))}
    # 5,400 device-seconds on two devices. Half an hour of a device is $2.50; $7.50 last 1.5 device-hours.
    assert left == pytest.approx({"device_seconds": 2700.0, "usd": 2700.0})


def test_what_is_not_known_is_not_projected():
    unknown = window(10, totals=Totals(UNKNOWN))
    assert bounds(TOKENS, Budget(5, "flops")).project(unknown) == []


@pytest.mark.parametrize(
    ("budget", "step", "steps"),
    [
        (STEPS, 90, 10),
        (STEPS, 100, 0),
        (STEPS, 110, 0),
        # 400 tokens a step: 40,000 - 36,000 are ten steps, 40,100 - 36,000 are 10.25.
        (TOKENS, 90, 10),
        (Budget(40_100, "tokens"), 90, 11),
        (TIME, 90, None),  # time is looked at by the clock
    ],
)
def test_steps_until_a_budget_of_work(budget, step, steps):
    made = bounds(budget)
    here = window(step)
    assert made.steps_to_go(made.project(here)[0], here) == steps


def test_steps_until_the_middle_of_an_epoch_are_foreseen_within_that_epoch_alone():
    made = bounds(Budget(2.5, "epochs"))
    for epochs, steps in ((2.1, 4), (2.0, None), (1.9, None)):
        # Ten batches an epoch, one a step: 0.4 of one are four. Where none has begun, its length is not known.
        here = window(20, epochs=epochs)
        assert made.steps_to_go(made.project(here)[0], here) == steps


@pytest.mark.parametrize(
    ("budget", "elapsed", "used_up"),
    [
        (TIME, 3099.0, False),
        (TIME, 3100.0, True),  # 500 s of an earlier process
        (Budget(7200.0, "device_seconds"), 3100.0, True),  # and 1,000 device-seconds
        (Budget(10.0, "usd"), 3100.0, True),  # $5 an hour of each of two devices
        (STEPS, 1e9, False),  # work is not looked at by the clock
    ],
)
def test_time_and_what_it_costs_are_used_up_at_a_moment(budget, elapsed, used_up):
    initial = Totals(seconds=500.0, device_seconds=1000.0)
    assert bounds(budget, initial=initial, usd_per_device_hour=5.0).is_used_up(elapsed) is used_up


def test_the_trainers_own_limits_are_its_own_to_keep():
    assert not bounds(one=trainer(callbacks=[timer(0.0)])).is_used_up(math.inf)


def test_whole_epochs_end_with_an_epoch():
    assert [ends_with_an_epoch(Budget(each, "epochs")) for each in (3.0, 2.5)] == [True, False]
    assert not ends_with_an_epoch(STEPS)
    one = trainer()
    made = bounds(Budget(1.0, "epochs"), one=one)
    assert not made.ends_here()
    one.fit_loop.epoch_progress.current.processed = 1
    one.fit_loop.epoch_loop.batch_progress.is_last_batch = True
    assert made.ends_here()


def test_a_loader_without_a_length_is_said(caplog):
    stream = trainer(num_training_batches=math.inf)
    bounds(Budget(2.0, "epochs"), one=stream)
    assert "the data loader does not report its length: the used share of 2 epochs is known only" in caplog.text
    caplog.clear()
    bounds(STEPS, one=stream)
    assert caplog.text == ""
