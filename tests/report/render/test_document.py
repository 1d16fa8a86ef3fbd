"""Sections: which are there, in which order, and what stands in their cells."""

from dataclasses import replace

import pytest

from flopwatch.report.points import Point
from flopwatch.report.render.document import TIME_LINE, WHAT_TO_DO, Bar, Section, sections
from flopwatch.report.report import Counted, PlanLine
from flopwatch.report.waterfall import Part
from flopwatch.run.records import Event
from tests import samples
from tests.report.render.test_facts import healthy


def of(report, heading):
    return {each.heading: each for each in sections(report)}.get(heading)


def test_sections_that_have_nothing_to_say_are_left_out_and_the_rest_is_in_order():
    assert [each.heading for each in sections(healthy())] == [
        *("What to do", "Where wall time went", "Timeline", "Budgets", "In the training loop, without warm-up"),
        *("Over the whole run", "The run", "How FLOPs were counted", "GPUs", "Model: first batch on one device"),
        *("Notes", "Versions", "Definitions"),
    ]


def test_a_column_is_of_numbers_if_all_its_cells_are():
    rows = (("1", "5", "5.1%", "n/a"), ("2", "words", "★ $5.00", "-3"))
    assert Section("", rows, ("",) * 4).numeric == (False, False, True, True)


def test_losses_have_their_lowest_and_their_last_and_bars_between_start_and_end():
    points = [
        Point(float(step), step, None, None, None, None, None, False, loss=loss)
        for step, loss in enumerate((4.0, 2.0, 3.0), 1)
    ]
    points[1] = replace(points[1], validation_loss=2.5)
    assert of(healthy(points=tuple(points)), "Loss").rows == (
        ("training loss", "2", "3", "█▁▅"),
        ("validation loss", "2.5", "2.5", "even"),
    )
    assert of(healthy(), "Loss") is None


def test_three_sizes_that_cost_speed_stand_below_the_findings_without_a_gain():
    advice = tuple(f"a size of {size} is no multiple of 8" for size in (1, 2, 3, 4))
    sentences = of(healthy(work=replace(samples.WORK, shape_advice=advice)), WHAT_TO_DO).sentences
    assert sentences[-3:] == tuple(f"Round up a size: {words}." for words in advice[:3])
    assert len(sentences) == len(of(healthy(), WHAT_TO_DO).sentences) + 3


def test_budgets_are_named():
    assert of(healthy(), "Budgets").rows[1] == ("40 steps", "52.5% used")


def test_the_plan_stands_beside_what_came():
    plan = (PlanLine("MFU", "percent", 0.5, 0.4), PlanLine("tokens", "count", 0, 8_400))
    assert of(healthy(plan=plan), "Against the plan").rows == (
        ("MFU", "50%", "40%", "80%"),
        ("tokens", "0", "8.4K", "n/a"),
    )


PARTS = (
    Part("setup", 10**15, 3600.0, 2.0),
    Part("interruption", 10**15, 3600.0, 0.0),
    Part("useful", 2 * 10**15, 7200.0, 4.0),
)


SECONDS = {"setup": 1800.0, "interruption": 1800.0, "training": 3600.0}


def test_one_table_has_the_parts_of_the_peak_as_losses_down_to_what_was_useful():
    section = of(healthy(parts=PARTS, seconds=SECONDS, wall_seconds=7200.0), "Where the peak went")
    assert section.columns == ("", "share", "wall time", "FLOPs", "device-hours", "cost")
    assert section.rows[0] == ("start-up, through the first batch", "25.0%", "30m 00s", "1 PFLOPs", "1", "$2.00")
    assert section.bars == (Bar(0.25, 0.75, "loss"), Bar(0.25, 0.5, "loss"), Bar(0.5, 0.0, "useful"), None)
    assert section.sentences == (
        "Training steps took 1h 00m, 50.0% of wall time; their parts are divided in proportion to FLOPs.",
        "Downtime is not billed: it counts in shares and wall time, not in device-hours and cost.",
    )
    assert of(healthy(parts=PARTS), "Where wall time went") is None


def test_an_mfu_above_one_leaves_no_bar_longer_than_the_whole():
    parts = (Part("setup", 10, 1.0, None), Part("rest", -30, 1.0, None), Part("useful", 120, 8.0, None))
    setup, rest, useful, _ = of(healthy(parts=parts, seconds=SECONDS), "Where the peak went").bars
    assert (setup.start, setup.share) == pytest.approx((0.9, 0.1))
    assert (rest, useful) == (Bar(0.0, 1.0, "loss"), Bar(1.0, 0.0, "useful"))


def test_without_known_flops_the_table_is_of_time_alone():
    parts = tuple(replace(each, kind=each.kind.replace("useful", "training"), usd=None) for each in PARTS[::2])
    section = of(healthy(parts=parts, seconds=SECONDS), "Where wall time went")
    assert section.columns == ("", "share", "wall time", "device-hours")
    assert section.rows[-1] == ("total", "100.0%", "35s", "3")
    assert section.sentences == ()


def test_where_nothing_was_found_it_is_said_as_far_as_it_is_known():
    assert of(healthy(findings=(), parts=PARTS), WHAT_TO_DO).sentences == (
        "No change was found that would recover 2% or more.",
    )
    assert of(healthy(findings=()), WHAT_TO_DO).sentences[0].startswith("Nothing was found in the training loop;")
    assert of(healthy(findings=(), points=()), WHAT_TO_DO) is None


def point(place, mfu, first=False):
    return Point(10.0 * place, place, mfu, None, 100.0, None, None, first)


def test_the_time_line_leaves_warm_up_out_and_what_one_window_alone_knows():
    points = (point(0, 0.9, first=True), point(1, 0.2), point(2, 0.4), point(3, None))
    section = of(healthy(points=points), TIME_LINE)
    assert section.rows == (("MFU", "20%", "40%", "▁█"), ("tokens/s", "100", "100", "even"))


def test_a_long_time_line_is_forty_bars_of_means():
    # Eighty windows, two in a bar: 0.1 and 0.3 are 0.2, at the end 0.5 and 0.5.
    points = [point(place, 0.1 if place % 2 else 0.3) for place in range(78)] + [point(78, 0.5), point(79, 0.5)]
    (mfu, _) = of(healthy(points=tuple(points)), TIME_LINE).rows
    assert mfu == ("MFU", "10%", "50%", "▁" * 39 + "█")


def test_of_very_many_notes_two_hundred_are_shown():
    events = tuple(Event(0.0, f"note {place}") for place in range(1_400))
    sentences = of(healthy(events=events, notes=()), "Notes").sentences
    assert (len(sentences), sentences[-2:]) == (201, ("note 199", "and 1,200 more"))


def test_other_conventions_are_the_same_run_weighed_otherwise():
    counted = (Counted("palm", "6N and more", 1.25, 0.5), Counted("6nd", "6N", 0.9, None))
    section = of(healthy(conventions=counted), "MFU under other conventions, by the first batch")
    assert section.rows == (("palm", "50%", "1.25", "6N and more"), ("6nd", "n/a", "0.9", "6N"))
