"""The verdict on every kind of run, by hand."""

from dataclasses import replace

import pytest

from flopwatch.report.finding import Finding
from flopwatch.report.published_mfu import Known
from flopwatch.report.report import Counted
from flopwatch.report.standings import BudgetStanding, SecondsLeft
from flopwatch.report.verdict import device_time, verdict
from flopwatch.report.waterfall import Part
from flopwatch.run.records import Device
from tests import samples
from tests.report.render.test_facts import healthy, totals

KNOWN = Known(0.355, 0.49, 6, 66 * 10**8, 153 * 10**8, ("a README",), ("6N + 12LdS, attention in full",))
PARTS = (
    Part("setup", 10**15, 3600.0, 2.5),
    Part("interruption", 4 * 10**15, 14_400.0, 0.0),
    Part("rest", 2 * 10**15, 7200.0, 5.0),
    Part("useful", 10**15, 3600.0, 2.5),
)


def quiet(**changes):
    """A run with nothing to say, five windows after its warm-up."""
    points = healthy().points
    values = {"budgets": (), "findings": (), "parts": (), "points": (*points, *points, *points), **changes}
    return healthy(**values)


@pytest.mark.parametrize(
    ("known", "palm", "words"),
    [
        (KNOWN, None, "40% MFU with causal attention (they count full attention), within the 35.5% to 49%"),
        (KNOWN, 0.44, "40% MFU (44% with full attention, as they count), within the 35.5% to 49%"),
        (KNOWN, 0.5, "40% MFU (50% with full attention, as they count), above the 35.5% to 49%"),
        (replace(KNOWN, low=0.41), None, "40% MFU with causal attention (they count full attention), below the 41% to"),
        # Some of them count otherwise: nothing to convert to.
        (replace(KNOWN, counting=("as published",)), 0.5, "40% MFU, within the 35.5% to 49%"),
    ],
)
def test_an_mfu_is_held_against_published_ones_as_they_count(known, palm, words):
    conventions = () if palm is None else (Counted("palm", "", palm / 0.4, palm),)
    (sentence,) = verdict(quiet(known=known, conventions=conventions))
    assert sentence.startswith(words)
    assert sentence.endswith("published for models of 6.6B to 15.3B parameters on this chip.")


def device(source, **changes):
    return replace(samples.H100, peak_source=source, **changes)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("datasheet: a sheet", "of the datasheet's peak; no published run of this kind and size on this chip compares"),
        ("measured: a product", "of a peak measured on this machine: no published number compares with it."),
        ("given by the user", "of a peak given by the user: no published number compares with it."),
    ],
)
def test_a_peak_of_another_source_has_a_verdict_of_its_own(source, words):
    known = None if source.startswith("datasheet") else KNOWN
    (sentence,) = verdict(quiet(device=device(source), known=known))
    assert sentence.startswith(f"40% MFU {words}")


def test_an_mfu_above_one_is_no_praise():
    assert verdict(quiet(mfu=1.13))[0] == "113% MFU, which is impossible: check the peak (datasheet: a sheet)."


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"work": replace(samples.WORK, verification="withheld", note="no formula for aten::x")},
            "no formula for aten::x",
        ),
        ({"device": Device("CPU", 1, "fp32", peak_source="a CPU has no peak")}, "a CPU has no peak"),
        ({"work": None}, "the record of how FLOPs were counted is unreadable"),
    ],
)
def test_without_an_mfu_the_reason_and_the_pace_are_told(changes, reason):
    lines = verdict(quiet(mfu=None, samples_per_second=4.0, **changes))
    assert lines == (f"No MFU: {reason}.", "400 tokens/s, 4 samples/s, 1s per step.")


def test_a_run_that_did_nothing_has_one_sentence():
    empty = healthy(mfu=None, work=None, points=(), parts=(), findings=(), usd=0.0, tokens_per_second=None)
    empty = replace(empty, samples_per_second=None)
    empty = replace(empty, budgets=(replace(empty.budgets[0], fraction=0.0),), status="killed", step_seconds=None)
    assert verdict(empty) == ("No MFU: no batch was finished.",)


def test_a_short_run_says_so_and_has_nothing_to_mend():
    assert healthy().findings
    assert verdict(healthy(budgets=(), parts=()))[1:] == ("A short run: means are over 2 windows after warm-up.",)
    alone = healthy(mfu=None, budgets=(), parts=(), points=healthy().points[:2])
    assert verdict(alone)[-1] == "A short run: means are over 1 window after warm-up."


def test_what_was_paid_for_leaves_out_what_was_not_billed():
    # $2.50 + $5 + $2.50: the four hours between two processes cost nothing.
    assert verdict(quiet(parts=PARTS, usd=10.0))[1] == (
        "Of $10.00, $2.50 did useful work; the largest loss was kernels, communication, launch gaps ($5.00)."
    )
    # 3,600 + 7,200 + 3,600 s are four hours.
    assert verdict(quiet(parts=PARTS))[1] == (
        "Of 4 device-hours, 1 did useful work; the largest loss was kernels, communication, launch gaps (2)."
    )


def test_a_short_time_is_told_as_a_duration_and_training_as_what_it_is():
    parts = (Part("setup", None, 60.0, None), Part("training", None, 180.0, None))
    assert verdict(quiet(parts=parts))[1] == (
        "Of 4m 00s device time, 3m 00s went into training steps; the largest loss was start-up, through the first batch"
        " (1m 00s)."
    )
    assert device_time(3_599.0) == ("59m 59s", "device time")
    assert device_time(5_400.0) == ("1.5", "device-hours")
    assert device_time(23_864_400.0) == ("6,629", "device-hours")


def test_cents_are_told_as_time():
    assert verdict(quiet(parts=PARTS, usd=0.99))[1].startswith("Of 4 device-hours, 1 did useful work")


def test_money_without_a_breakdown_is_told_alone():
    assert verdict(quiet(usd=5.0))[1] == "$5.00 was paid."


def test_three_losses_are_worth_mending_with_what_they_give_back():
    found = (
        Finding("interruption", 0.3, None, 0.089, of_run=0.3),
        Finding("recomputed", 0.2, 0.098, 0.022, of_run=0.052),
        Finding("slow rank", 0.04, 0.01, None, "17"),
        Finding("validation", 0.03, None, 0.011, of_run=0.03),
    )
    parts = (*PARTS, Part("recomputed", 10**15, 3600.0, 13.75))
    assert verdict(quiet(findings=found, parts=parts, usd=23.75))[2] == (
        "Worth mending: downtime (8.9 points of run MFU); recomputation (up to $13.75, 2.2 points of run MFU);"
        " slow rank 17."
    )
    others = (Finding("clock", 0.1, None, 0.0004, of_run=0.08), Finding("dips", 0.1, None, 0.01, "2"))
    assert verdict(quiet(findings=others))[1] == (
        "Worth mending: low clocks (up to 8.0% of the run); unexplained dips (1.0 point of run MFU)."
    )


STEPS = BudgetStanding("20K steps", 20_000, "steps", 0.089)
FLOPS = BudgetStanding("10 ZFLOPs", 10**22, "flops", 0.008)


@pytest.mark.parametrize(
    ("budgets", "words"),
    [
        ((STEPS,), "Budget of 20K steps: 8.9% used, 8h 51m left."),
        ((replace(STEPS, fraction=1.0),), "The budget of 20K steps is used up."),
        ((FLOPS, STEPS), "Of 2 budgets, 20K steps runs out first: 8.9% used, 8h 51m left."),
        # What is left counts where it is known, whatever the shares are.
        (
            (replace(FLOPS, left=SecondsLeft(60.0, None, None)), replace(STEPS, left=SecondsLeft(90.0, None, None))),
            "Of 2 budgets, 10 ZFLOPs runs out first: 0.8% used, 1m 00s left.",
        ),
    ],
)
def test_the_budget_that_runs_out_first_is_named(budgets, words):
    left = SecondsLeft(31_860.0, None, None)
    assert verdict(quiet(status="interrupted", budgets=budgets, seconds_left=left))[-1] == words
    assert words not in verdict(quiet(status="finished", budgets=budgets, seconds_left=left))


def test_tokens_and_samples_are_told_where_there_are_some():
    images = quiet(mfu=None, work=None, totals=totals(tokens=None), tokens_per_second=None, samples_per_second=40.0)
    assert verdict(images)[1] == "40 samples/s, 1s per step."


def test_what_is_found_inside_of_steps_is_named_in_words_and_the_unknown_rest_is_not_worth_mending():
    found = (
        Finding("rest", 0.6, None, None, of_run=0.6),
        Finding("launch_bound", 0.2, 0.1, 0.05, evidence="the device waits", change="CUDA graphs"),
    )
    sentences = verdict(quiet(findings=found))
    (worth,) = [each for each in sentences if each.startswith("Worth mending")]
    assert worth.startswith("Worth mending: launch bound (up to ")
    assert "kernels" not in worth
