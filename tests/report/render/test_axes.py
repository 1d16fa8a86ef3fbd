import math

import pytest

from flopwatch.report.render.axes import ticks, time_ticks, time_words, upper_end


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 0.5, [0, 0.2, 0.4]),
        (0.0, 1.0, [0, 0.5, 1.0]),
        (1.44e9, 1.92e9, [1.6e9, 1.8e9]),
        (0.0, 8e19, [0, 2e19, 4e19, 6e19, 8e19]),
        (0.0, 0.0, []),
        (0.0, math.inf, []),
    ],
)
def test_ticks_are_few_round_numbers_within_the_axis(low, high, expected):
    assert ticks(low, high, 4) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("highest", "end"), [(0.429, 0.5), (0.5, 0.6), (545_000, 600_000), (0.0, 1.0), (9.9e18, 1.5e19)]
)
def test_an_axis_ends_at_a_round_number_above_the_highest_value(highest, end):
    assert upper_end(highest) == pytest.approx(end)


@pytest.mark.parametrize("until", [0.5, 1, 59, 3_528, 86_400, 1e6, 3e7, 4e9])
def test_time_ticks_begin_at_zero_are_few_and_have_words_of_their_own(until):
    found = time_ticks(until)
    assert found[0] == (0, "0")
    assert len(found) <= 9
    assert all(at <= until * (1 + 1e-9) for at, _ in found)
    assert len({words for _, words in found}) == len(found)


def test_an_hour_has_a_tick_every_ten_minutes():
    assert [words for _, words in time_ticks(3_528)] == ["0", "10m", "20m", "30m", "40m", "50m"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0"),
        (30, "30s"),
        (90, "1m 30s"),
        (5_400, "1h 30m"),
        (86_400, "1d"),
        (129_600, "1d 12h"),
        (1e8, "1,157d 9h 46m 40s"),
    ],
)
def test_a_time_is_told_in_the_units_that_it_has(seconds, words):
    assert time_words(seconds) == words
