"""What is told while a run goes on, once each."""

import pytest

from flopwatch.lightning.output.alarms import Heat, LowMfu, MissedGoals, ReachedBudgets
from flopwatch.run.budget import Budget, Projection


def test_a_low_mfu_is_told_once_until_it_recovers():
    alarm = LowMfu(0.3, 30.0)
    mfus = [0.2, 0.2, None, 0.2, 0.2, 0.35, 0.1, 0.1, 0.1]
    said = [alarm.add(mfu, 10.0) for mfu in mfus]
    assert [place for place, words in enumerate(said) if words] == [3, 8]
    assert said[3] == "MFU has been below 30% for 30s; it is 20% now"


def test_no_bound_is_no_alarm():
    assert LowMfu(None, 1.0).add(0.0, 100.0) is None


def test_a_budget_is_reached_once():
    reached = ReachedBudgets()
    here = [Projection(Budget(10, "steps"), 1.0, 0.0), Projection(Budget(5, "tokens"), 0.9, 1.0)]
    assert list(reached.new(here)) == [Budget(10, "steps")]
    assert list(reached.new(here)) == []


def test_heat_that_lasts_is_told_and_a_power_cap_is_not():
    alarm = Heat(seconds=25.0)
    hot, capped = {"software_thermal": 0.35, "power_cap": 0.1}, {"software_thermal": 0.05, "power_cap": 0.9}
    windows = [hot, capped, hot, hot, None, hot, hot, capped]
    said = [alarm.add(throttled, 10.0) for throttled in windows]
    assert [place for place, words in enumerate(said) if words] == [5]
    assert said[5] == (
        "the GPUs have been throttled for 30s by temperature, by the driver (35.0% of the last window); check their"
        " cooling and power"
    )


def standing(budget, fraction, low, middle, high):
    return Projection(budget, fraction, middle, low, high)


def test_a_goal_that_a_limit_comes_before_is_told_after_three_windows():
    tokens, time = Budget(10**12, "tokens"), Budget(7200.0, "seconds")
    # Half of the tokens are done; the other half takes two hours, and there is one.
    missed = [standing(time, 0.5, 3600.0, 3600.0, 3600.0), standing(tokens, 0.5, 7000.0, 7200.0, 7400.0)]
    unsure = [standing(time, 0.5, 3600.0, 3600.0, 3600.0), standing(tokens, 0.5, 3500.0, 7200.0, 7400.0)]
    alarm = MissedGoals()
    said = [list(alarm.new(each)) for each in (missed, missed, unsure, missed, missed, missed, missed)]
    # Of the half that is left, half is done in half of the time: 75%.
    assert said == [
        [],
        [],
        [],
        [],
        [],
        ["the limit of 2h 00m will be used up 1h 00m before 1T tokens are done, at 75% of them"],
        [],
    ]


def test_limits_alone_and_goals_alone_are_not_missed():
    steps, tokens = standing(Budget(10, "steps"), 0.5, 1, 2, 3), standing(Budget(10, "tokens"), 0.1, 10, 20, 30)
    money, time = standing(Budget(10.0, "usd"), 0.5, 1, 2, 3), standing(Budget(10.0, "seconds"), 0.1, 10, 20, 30)
    alarm = MissedGoals()
    assert [list(alarm.new(each)) for each in 3 * ([steps, tokens], [money, time])] == [[]] * 6


def test_heat_is_told_again_only_after_it_was_well():
    alarm = Heat(seconds=10.0)
    hot, cool = {"hardware_thermal": 0.5}, {"hardware_thermal": 0.1}
    said = [bool(alarm.add(each, 10.0)) for each in (hot, hot, cool, hot)]
    # A tenth of the time is not much.
    assert said == [True, False, False, True]


@pytest.mark.parametrize("low", [None, 100.0])
def test_a_goal_whose_interval_is_not_known_or_reaches_the_limit_is_not_missed(low):
    limit = standing(Budget(7200.0, "seconds"), 0.5, 100.0, 100.0, 100.0)
    goal = standing(Budget(10**12, "tokens"), 0.5, low, 200.0, 300.0)
    alarm = MissedGoals()
    assert [list(alarm.new([limit, goal])) for _ in range(4)] == [[]] * 4
