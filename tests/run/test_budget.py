import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopwatch.errors import FlopwatchError, QuantityError
from flopwatch.run.budget import Budget, Headline, Projection, parse_budget, project
from flopwatch.run.projection import TimeLeft


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("3.14e23 FLOPs", 314 * 10**21, "flops"),
        ("314 ZFLOPs", 314 * 10**21, "flops"),
        ("1 EFLOP", 10**18, "flops"),
        ("2 T FLOPs", 2 * 10**12, "flops"),
        ("1.4T tokens", 1_400_000_000_000, "tokens"),
        ("300B tokens", 300 * 10**9, "tokens"),
        ("1 token", 1, "tokens"),
        ("2M samples", 2_000_000, "samples"),
        ("50K steps", 50_000, "steps"),
        ("2 days", 172_800.0, "seconds"),
        ("36h", 129_600.0, "seconds"),
        ("90 min", 5400.0, "seconds"),
        ("1.5 hours", 5400.0, "seconds"),
        ("3 epochs", 3.0, "epochs"),
        ("0.5 epoch", 0.5, "epochs"),
        ("500 device-hours", 1_800_000.0, "device_seconds"),
        ("1.2M GPU hours", 4.32e9, "device_seconds"),
        ("2 gpu-days", 172_800.0, "device_seconds"),
        ("50 kWh", 1.8e8, "joules"),
        ("2 MWh", 7.2e9, "joules"),
        ("3.6 GJ", 3.6e9, "joules"),
        ("$20k", 20_000.0, "usd"),
        ("$1,500.50", 1500.5, "usd"),
        ("20k USD", 20_000.0, "usd"),
        ("100 dollars", 100.0, "usd"),
        ("chinchilla", 20, "tokens_per_parameter"),
    ],
)
def test_budgets_as_people_write_them(text, amount, unit):
    assert parse_budget(text) == Budget(amount, unit)


@pytest.mark.parametrize(
    "text",
    ["1.4T apples", "-1 tokens", "-1.4T FLOPs", "0 tokens", "tokens", "", "1.5 tokens", "1.4T", "3e15 FLOP/s", "5 m"]
    + ["1e99 tokens", "nan tokens", "1.4 T T tokens", "1.4T tokens per day", "days", "1e-3 FLOPs", "tokens 5"]
    + ["$", "$-5", "$20 tokens", "20 EUR", "$20kk", "5 gpu", "5 gpu-tokens", "3K epochs", "50 kW", "2 chinchillas"],
)
def test_what_is_no_budget_is_refused_in_one_line(text):
    with pytest.raises(QuantityError) as error:
        parse_budget(text)
    assert "\n" not in str(error.value)
    assert repr(text) in str(error.value)


@given(st.text())
def test_any_text_is_a_positive_budget_or_a_known_error(text):
    with contextlib.suppress(FlopwatchError):
        assert parse_budget(text).amount > 0


def at_pace(**per_second):
    return lambda unit, amount: TimeLeft(amount / per_second[unit]) if unit in per_second else None


def test_time_left_is_what_remains_over_the_pace():
    # 1000 tokens, 400 done, 30 a second: 600 / 30 = 20 s.
    (projection,) = project([Budget(1000, "tokens")], {"tokens": 400}, at_pace(tokens=30))
    assert (projection.fraction, projection.seconds_left) == (0.4, 20.0)


def test_the_budget_reached_first_comes_first():
    budgets = [Budget(1000, "tokens"), Budget(5, "epochs"), Budget(100, "steps")]
    # Tokens: 500 / 10 = 50 s. Steps: 20 / 1 = 20 s. Of epochs nothing tells how long they take.
    projections = project(budgets, {"tokens": 500, "steps": 80, "epochs": 1}, at_pace(tokens=10, steps=1))
    assert [(each.budget.unit, each.seconds_left) for each in projections] == [
        ("steps", 20.0),
        ("tokens", 50.0),
        ("epochs", None),
    ]


def test_unknown_work_and_unknown_pace_give_no_time():
    assert project([Budget(10, "flops")], {"flops": None}, at_pace(flops=1)) == []
    assert project([Budget(10, "steps")], {"steps": 4}, at_pace())[0].seconds_left is None
    assert project([], {"steps": 4}, at_pace(steps=1)) == []


def test_a_reached_budget_has_no_time_left_and_its_fraction_is_not_clamped():
    (projection,) = project([Budget(10, "steps")], {"steps": 12}, at_pace(steps=1))
    assert (projection.fraction, projection.seconds_left) == (1.2, 0.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1.4T tokens", "1.4T tokens"),
        ("3.14e23 FLOPs", "314 ZFLOPs"),
        ("48 hours", "2d 0h"),
        ("1.5M gpu-hours", "1.5M device-hours"),
        ("3.6 GJ", "1000 kWh"),
        ("$20k", "$20,000"),
        ("2.5 epochs", "2.5 epochs"),
        ("chinchilla", "20 tokens per parameter"),
    ],
)
def test_budgets_in_words(text, words):
    assert str(parse_budget(text)) == words


def standing(unit, fraction, low, middle, high):
    return Projection(Budget(100, unit), fraction, middle, low, high)


def headlines(*windows):
    headline = Headline()
    return [headline.choose(each).budget.unit for each in windows]


def test_the_headline_stays_until_another_budget_is_sure_to_come_first():
    steps, time = standing("steps", 0.5, 50, 60, 80), standing("seconds", 0.5, 70, 70, 70)
    later, much_later = standing("steps", 0.5, 65, 75, 90), standing("steps", 0.5, 71, 85, 99)
    # 75 s of steps come after 70 s, but may be 65; from 71 on they do not, which three windows in a row have to say.
    doubtful, sure = [time, later], [time, much_later]
    windows = [[steps, time], doubtful, sure, sure, doubtful, sure, sure, sure, [later, time]]
    assert headlines(*windows) == ["steps"] * 7 + ["seconds"] * 2


def test_an_estimate_without_an_interval_is_not_sure_and_none_is_worth_less_than_any():
    rough, time = standing("steps", 0.5, None, 60, None), standing("seconds", 0.5, 70, 70, 70)
    unknown = standing("tokens", 0.5, None, None, None)
    assert headlines([time, unknown], [rough, time, unknown]) == ["seconds", "seconds"]
    assert headlines([unknown], [time, unknown]) == ["tokens", "seconds"]


def test_a_budget_that_is_used_up_takes_the_headline_and_keeps_it():
    tokens, steps = standing("tokens", 0.9, 5, 10, 15), standing("steps", 1.0, 0, 0, 0)
    both = [standing("tokens", 1.1, 0, 0, 0), steps]
    assert headlines([tokens, standing("steps", 0.9, 5, 12, 15)], [steps, tokens], both) == ["tokens", "steps", "steps"]


def test_a_headline_that_is_not_settled_or_no_longer_measured_is_the_nearest():
    steps, time = standing("steps", 0.5, None, 60, None), standing("seconds", 0.5, 70, 70, 70)
    headline = Headline()
    assert headline.choose([time], settle=False).budget.unit == "seconds"
    assert [headline.choose(each).budget.unit for each in ([steps, time], [time])] == ["steps", "seconds"]
    assert headline.choose([]) is None
