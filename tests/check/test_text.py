"""Lines on a terminal."""

import pytest

from flopwatch.check.results import CheckLine, not_here
from flopwatch.check.running import Checked
from flopwatch.check.text import Style, device_words, foot, head, line_text, page, value_words

DEVICE = {"name": "CPU", "type": "cpu", "processor": "AMD EPYC"}
VERSIONS = {"flopwatch": "0.1.0", "torch": "2.13.0+cpu", "python": "3.11.7", "driver": "580.95.05", "os": "Linux 6.8"}
FAILED = CheckLine("product and peak", "fail", 989.4e12, 1100e12, "111.2% of the bf16 peak", "FLOP/s at most")
LINES = (
    CheckLine("fit: weights", "pass", "identical", "identical", "after 24 steps"),
    FAILED,
    not_here("tensor activity", "this GPU has no such counters (Hopper and newer do)"),
)


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (None, "s", "nothing"),
        ("identical", "", "identical"),
        (1, "", "1"),
        (36_257_660_928, "FLOPs", "36,257,660,928 FLOPs"),
        (300_000, "bytes at most", "300,000 bytes"),
        (0.4123, "share", "41.2%"),
        (1.98e9, "Hz at most", "1980 MHz"),
        (0.0034, "s", "3.4 ms"),
        (60.0, "s at most", "1m 00s"),
        (989.4e12, "FLOP/s at most", "989 TFLOP/s"),
        (2000.0, "J", "2 kJ"),
    ],
)
def test_values_in_words(value, unit, words):
    assert value_words(value, unit) == words


def test_a_line_that_passed():
    assert line_text(LINES[0], Style()) == "pass      fit: weights            identical, after 24 steps"


def test_a_line_that_failed_says_what_was_expected_and_what_came():
    assert line_text(FAILED, Style(width=120)) == (
        "FAIL      product and peak        expected at most 989 TFLOP/s, got 1.1 PFLOP/s; 111.2% of the bf16 peak"
    )


def test_a_number_that_is_too_low_says_at_least_what():
    line = CheckLine(
        "product at that clock", "fail", 486.6e12, 48e12, "4.9% of what the clock allows", "FLOP/s at least"
    )
    assert line_text(line, Style(width=120)).endswith(
        "expected at least 487 TFLOP/s, got 48 TFLOP/s; 4.9% of what the clock allows"
    )


def test_numbers_that_are_rounded_to_the_same_are_told_in_full():
    line = CheckLine("product and peak", "fail", 989.4e12, 989.45e12, "100.0% of the bf16 peak", "FLOP/s at most")
    assert line_text(line, Style(width=200)).endswith(
        "expected at most 9.894e+14 FLOP/s, got 9.8945e+14 FLOP/s; 100.0% of the bf16 peak"
    )


def test_a_group_that_failed_says_what_happened():
    assert line_text(CheckLine("fits", "fail", words="ValueError: x"), Style()).endswith("ValueError: x")


def test_long_words_wrap_below_themselves_and_fit():
    text = line_text(LINES[2], Style())
    first, second = text.splitlines()
    assert second.startswith(" " * 34)
    assert max(map(len, (first, second))) <= 80


def test_colours_are_of_the_outcome_alone():
    assert line_text(LINES[0], Style(colour=True)).startswith("\x1b[32mpass\x1b[0m      fit: weights")
    assert "\x1b" not in line_text(LINES[0], Style())


def test_what_moves_a_cursor_is_replaced():
    assert "\x1b" not in line_text(not_here("x", "a\x1b[2Jb"), Style())


def test_a_device_is_named():
    assert device_words(DEVICE) == "AMD EPYC, one thread"
    assert device_words({"name": "NVIDIA H100 80GB HBM3", "type": "cuda"}) == "NVIDIA H100 80GB HBM3"


def test_the_head_names_versions_and_device():
    assert head(VERSIONS, DEVICE, Style(width=200)) == (
        "flopwatch 0.1.0, torch 2.13.0+cpu, Python 3.11.7, driver 580.95.05, Linux 6.8, AMD EPYC, one thread\n"
    )


def test_a_page_has_all_of_it_within_eighty_columns():
    checked = Checked(VERSIONS, DEVICE, LINES, 12.4)
    assert foot(checked) == "\n1 passed, 1 failed, 1 not here, in 12 s"
    text = page(checked, Style())
    assert text.endswith("in 12 s\n")
    assert text.count("\n") > 6
    assert max(map(len, text.splitlines())) <= 80
