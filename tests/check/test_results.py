"""Lines and their outcomes."""

import pytest

from flopwatch.check.results import CheckLine, between, compared, counts, is_near, not_here


def test_a_comparison_passes_or_fails_with_what_was_expected_and_found():
    assert compared("x", True, expected=1, found=1) == CheckLine("x", "pass", 1, 1)
    assert compared("x", False, expected=1, found=2, words="w", unit="s") == CheckLine("x", "fail", 1, 2, "w", "s")


def test_every_outcome_is_counted_also_those_that_did_not_occur():
    lines = [CheckLine("a", "pass"), CheckLine("b", "pass"), not_here("c", "why")]
    assert counts(lines) == {"pass": 2, "fail": 0, "not here": 1}


@pytest.mark.parametrize(
    ("found", "outcome", "limit", "unit"),
    [
        (2.0, "pass", 3.0, "s at most"),
        (1.0, "pass", 3.0, "s at most"),
        (3.0, "pass", 3.0, "s at most"),
        (0.9, "fail", 1.0, "s at least"),
        (3.1, "fail", 3.0, "s at most"),
    ],
)
def test_a_number_between_two_limits_tells_the_one_that_counts(found, outcome, limit, unit):
    assert between("x", found, least=1.0, most=3.0, words="w", unit="s") == CheckLine(
        "x", outcome, limit, found, "w", unit
    )


@pytest.mark.parametrize(("found", "holds"), [(102.0, True), (98.0, True), (102.1, False), (97.9, False)])
def test_near_is_a_fraction_of_what_was_expected(found, holds):
    assert is_near(found, 100.0, 0.02) is holds
