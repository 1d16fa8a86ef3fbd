"""What tells runs apart."""

import pytest

from flopwatch.report.comparison import Entry
from flopwatch.report.differences import differing, named_apart, written


def runs(*hyperparameters):
    return [Entry(f"run {place}", hyperparameters=each) for place, each in enumerate(hyperparameters)]


def test_what_differs_is_told_in_order_and_runs_without_any_do_not_count():
    entries = runs({"depth": 12, "lr": 0.001, "heads": 8}, {"depth": 12, "lr": 0.0003, "heads": 16}, {})
    assert differing(entries) == ("lr", "heads")
    assert differing(runs({"lr": 1}, {"lr": 1.0})) == ()
    assert differing(runs({"tied": True}, {"tied": 1})) == ("tied",)
    assert differing(runs({"lr": 1}, {"depth": 1})) == ("lr", "depth")


def test_runs_are_named_by_what_differs():
    entries = named_apart(runs({"lr": 0.001, "tied": True, "depth": 12}, {"lr": 0.0003, "depth": 12}, {}))
    assert [each.name for each in entries] == ["lr 0.001, tied true", "lr 0.0003", "run 2"]


def test_three_are_named_at_most_and_long_words_are_cut():
    one, _ = named_apart(runs({"a": "x" * 50, "b": 1, "c": 1, "d": 1}, {"a": "y", "b": 2, "c": 2, "d": 2}))
    assert one.name == f"a {'x' * 30}..., b 1, c 1"


def test_runs_that_would_share_a_name_keep_their_own():
    same = runs({"lr": 0.1}, {"lr": 0.2}, {"lr": 0.1})
    assert named_apart(same) == same
    alike = runs({"lr": 0.1}, {"lr": 0.1})
    assert named_apart(alike) == alike


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "n/a"),
        (True, "true"),
        (3e-4, "0.0003"),
        (12, "12"),
        (1e6, "1000000"),
        (1e20, "1e+20"),
        ("adamw", "adamw"),
        (1e-12, "1e-12"),
    ],
)
def test_values_are_written_as_people_do(value, words):
    assert written(value) == words
