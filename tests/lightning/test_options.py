"""What the user asked for: each argument is used as it is, or refused at once with what was expected."""

from pathlib import Path

import pytest

from flopwatch.errors import ArgumentError, ConfigError, QuantityError
from flopwatch.lightning.options import Options, budgets_of, folder_of
from flopwatch.run.budget import Budget

STEPS = (Budget(10, "steps"),)


def test_without_arguments_all_is_as_documented():
    options = Options()
    assert (options.every_n_seconds, options.attention, options.on_budget, options.report) == (
        10.0,
        "causal",
        "warn",
        True,
    )


def test_a_prefix_loses_the_slashes_around_it():
    assert Options(prefix="/mine/runs/").prefix == "mine/runs"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"attention": "flash"}, "expected attention='causal' or 'full', got 'flash'"),
        ({"every_n_steps": 0}, "expected a number of steps above zero for every_n_steps, got 0"),
        ({"every_n_steps": 1.0}, "expected a number of steps above zero for every_n_steps, got 1.0"),
        ({"every_n_steps": True}, "expected a number of steps above zero for every_n_steps, got True"),
        ({"every_n_seconds": None}, "expected a number of seconds above zero for every_n_seconds, got None"),
        ({"every_n_seconds": float("inf")}, "got inf"),
        ({"optimizer_flops": 1e9}, "expected a whole number of FLOPs above zero for optimizer_flops, got 1000000000.0"),
        ({"usd_per_device_hour": "3"}, "for usd_per_device_hour, got '3'"),
        ({"alert_below_mfu": 1.5}, "expected an MFU from 0 to 1 for alert_below_mfu, got 1.5"),
        (
            {"peak_flops_per_second": -1},
            "above zero or 'measured' for peak_flops_per_second, got -1",
        ),
        ({"dtype": "bf32"}, "expected one of bf16, .* for dtype, got 'bf32'"),
        ({"prefix": 3}, "expected a word for prefix, got 3"),
        ({"batch_shape": (4, 100)}, r"expected a function for batch_shape, got \(4, 100\)"),
        ({"flops_per_batch": 5}, "expected a function for flops_per_batch, got 5"),
        ({"report": 1}, "expected True or False for report, got 1"),
        ({"inference": "yes"}, "expected True or False for inference, got 'yes'"),
        ({"on_budget": "halt", "budgets": STEPS}, "expected 'warn', 'stop' or a function for on_budget, got 'halt'"),
        ({"on_budget": "stop"}, "on_budget='stop' needs a budget: pass budget="),
        ({"budgets": (Budget(5.0, "usd"),)}, "a cost budget needs a device's price: pass usd_per_device_hour="),
    ],
)
def test_what_cannot_be_used_says_what_was_expected_and_what_came(arguments, said):
    with pytest.raises(ArgumentError, match=said):
        Options(**arguments)


def test_a_config_that_cannot_be_counted_is_refused_before_training():
    with pytest.raises(ConfigError):
        Options(config={"model_type": "x"})


@pytest.mark.parametrize(
    "arguments",
    [
        {"on_budget": "stop", "budgets": STEPS},
        {"on_budget": lambda trainer, budget: None, "budgets": STEPS},
        {"peak_flops_per_second": "measured"},
        {"peak_flops_per_second": 10**15},
        {"budgets": (Budget(5.0, "usd"),), "usd_per_device_hour": 2},
        {"alert_below_mfu": 1.0},
        {"every_n_seconds": 0.5},
    ],
)
def test_what_can_be_used_is_kept_as_it_is(arguments):
    options = Options(**arguments)
    assert all(getattr(options, name) == value for name, value in arguments.items())


@pytest.mark.parametrize(
    ("budget", "budgets"),
    [
        (None, ()),
        ("10 steps", STEPS),
        (["10 steps", "2 h"], (*STEPS, Budget(7200.0, "seconds"))),
        (("10 steps",), STEPS),
        ([], ()),
    ],
)
def test_one_budget_or_several(budget, budgets):
    assert budgets_of(budget) == budgets


@pytest.mark.parametrize("budget", [5, [5], {"10 steps": 1}, b"10 steps"])
def test_what_is_no_text_is_no_budget(budget):
    with pytest.raises(ArgumentError, match=r"expected a budget like '1.4T tokens' or a list of them, got"):
        budgets_of(budget)


def test_a_text_that_is_no_budget_is_refused():
    with pytest.raises(QuantityError):
        budgets_of("ten apples")


def test_a_folder_is_local():
    assert [folder_of(each) for each in (None, "runs", Path("runs"))] == [None, Path("runs"), Path("runs")]
    for each in ("s3://bucket", 5):
        with pytest.raises(ArgumentError, match="expected a local folder for dirpath, got"):
            folder_of(each)
