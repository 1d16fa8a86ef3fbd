"""What the charts of the page hold, and runs side by side in every form."""

import dataclasses

import pytest

from flopwatch.report.render import RENDERERS, charts
from flopwatch.report.render import text as text_form
from flopwatch.report.render.document import sections
from flopwatch.report.report import summarize
from flopwatch.report.standings import SecondsLeft
from flopwatch.run.records import Event
from flopwatch.run.run_file import read_run
from tests import samples
from tests.report.render.test_renderers import Page
from tests.run.test_run_file import write

KINDS = {"setup": 5.0, "training": 358.0, "data_wait": 28.0, "validation": 4.0, "checkpoint": 3.0, "other": 2.0}
CONVENTIONS = {"model": 24_000, "full": 30_000, "megatron": 26_400, "macs": 12_000}


def rich_run(**start):
    """The healthy run with money, an hour-long name, seconds by kind, conventions and a dip that no one explains."""
    totals = samples.changed(
        samples.totals(300, 1400.0, 16_800 * 10**12),
        seconds_by_kind=KINDS,
        hardware_flops=20_000 * 10**12,
        useful_tokens=400 * 300 * 9 // 10,
    )
    windows = [
        samples.window(
            10 * place,
            1000.0 + 12 * place,
            1_000 * 10**12 if place == 15 else 8_000 * 10**12,
            first=place == 1,
            totals=totals,
            budget_fraction=place / 100,
            seconds_left=600.0,
            seconds_left_low=500.0,
            seconds_left_high=700.0,
            pause_seconds={},
            slowest_rank_ratio=None,
        )
        for place in range(1, 30)
    ]
    work = dataclasses.replace(samples.WORK, conventions=CONVENTIONS)
    end = dataclasses.replace(samples.end(300, 1400.0, "interrupted"), totals=totals)
    return [samples.start(usd_per_device_hour=2.0, **start), work, *windows, Event(1100.0, "look <here>"), end]


@pytest.fixture
def report(tmp_path):
    return summarize(read_run(write(tmp_path / "run.jsonl", rich_run())))


def chart(report, heading, section="Timeline"):
    return {each.heading: each for each in charts.charts(report)[section].charts}.get(heading)


def test_the_budget_fans_out_where_the_run_has_not_ended(report):
    budget = chart(report, "Share used of the budget that runs out first", "Budgets")
    used, expected = budget.lines
    # The last window ended 348 s after the start; it has 600 s left, 500 to 700.
    assert used.points[-1] == (348.0, 0.29)
    assert budget.areas[0].corners == ((348, 0.29), (848, 1.0), (1048, 1.0))
    assert expected.points == ((348, 0.29), (948, 1.0))
    assert budget.until == 1048


def test_a_finished_run_has_no_fan(tmp_path):
    records = rich_run()
    records[-1] = dataclasses.replace(records[-1], status="finished")
    report = summarize(read_run(write(tmp_path / "run.jsonl", records)))
    budget = chart(report, "Share used of the budget that runs out first", "Budgets")
    assert (len(budget.lines), budget.areas, budget.until) == (1, (), 348)
    assert report.seconds_left is None


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        # Windows told 29% last; 30% is near enough, 40% is another budget.
        (({"fraction": 0.4}, {"fraction": 0.3}), "40 steps"),
        (({"fraction": 0.4}, {"fraction": 0.5}), "the budget that runs out first"),
        (({"left": SecondsLeft(5.0, None, None)}, {"left": SecondsLeft(9.0, None, None)}), "100 PFLOPs"),
    ],
)
def test_the_budget_is_named(report, changes, named):
    budgets = tuple(dataclasses.replace(each, **change) for each, change in zip(report.budgets, changes, strict=True))
    (drawn,) = charts.charts(dataclasses.replace(report, budgets=budgets))["Budgets"].charts
    assert drawn.heading == f"Share used of {named}"


def test_charts_over_time_end_together(report):
    assert {each.until for each in charts.charts(report)["Timeline"].charts} == {348}


def test_events_and_dips_are_marks_with_their_words(report):
    marks = {mark.kind: mark for mark in charts.charts(report)["Timeline"].marks}
    # The event after 100 s; the dip in window 15, which began after 14 x 12 s and ended with the window, 2 s of pause
    # included.
    assert (marks["note"].seconds, marks["note"].words) == (100.0, "look <here>")
    assert (marks["slow stretch"].seconds, marks["slow stretch"].lasted) == (168.0, 12.0)
    assert "were 87.5% slower than the best stretch" in marks["slow stretch"].words


def test_validations_checkpoints_and_restarts_are_marks(tmp_path):
    records = rich_run()
    records[5] = dataclasses.replace(records[5], pause_seconds={"validation": 2.0, "checkpoint": 0.0})
    report = summarize(read_run(write(tmp_path / "run.jsonl", records)))
    later = dataclasses.replace(report.each_process[0], started_at=1200.0)
    report = dataclasses.replace(report, each_process=(*report.each_process, later))
    marks = [(mark.kind, mark.seconds) for mark in charts.charts(report)["Timeline"].marks]
    assert ("validation", 4 * 12.0) in marks  # the fourth window
    assert ("restart", 200.0) in marks
    assert "checkpoint" not in {kind for kind, _ in marks}


def test_a_budget_far_above_what_was_done_would_flatten_the_line(report):
    def budgets(amount):
        one = dataclasses.replace(report.budgets[0], amount=amount, unit="flops")
        return dataclasses.replace(report, budgets=(one,))

    reached = report.points[-1].total_flops
    assert len(chart(budgets(reached * 2), "Model FLOPs so far").lines) == 2
    assert len(chart(budgets(reached * 1000), "Model FLOPs so far").lines) == 1


def test_the_clock_has_an_axis_of_its_own_around_its_values(tmp_path):
    report = summarize(read_run(write(tmp_path / "run.jsonl", samples.healthy_run())))
    clock = chart(report, "SM clock")
    # 1,600 MHz, and 1,830 MHz behind the peak.
    assert (clock.low, clock.high) == (pytest.approx(0.9 * 1.6e9), pytest.approx(1.05 * 1.83e9))
    assert [line.name for line in clock.lines] == ["SM clock", "the peak's clock"]
    assert chart(report, "Time throttled").high == 1.0


def test_images_have_samples_where_text_has_tokens(report):
    assert chart(report, "Samples per second") is None
    images = tuple(dataclasses.replace(each, tokens_per_second=None) for each in report.points)
    (line,) = chart(dataclasses.replace(report, points=images), "Samples per second").lines
    assert line.points[0][1] == 4.0  # 40 in 10 s


def test_a_line_of_one_point_is_no_chart():
    assert charts.overlay([]) is None


def test_of_very_many_processes_the_line_is_limited(report):
    points = tuple(
        dataclasses.replace(report.points[0], seconds=float(place), first=place % 3 == 0) for place in range(30_000)
    )
    many = chart(dataclasses.replace(report, points=points), "MFU")
    assert len(many.lines[0].points) <= charts.MOST_POINTS


def test_what_was_found_is_in_every_form(report):
    text, markdown = RENDERERS["text"](report), RENDERERS["md"](report)
    page = Page(RENDERERS["html"](report)).text
    flat = " ".join(text.split())
    for shown in (
        "A dip without a known cause costs",
        "Steps 141 to 150, 2m 48s after the start, were 87.5% slower than the best stretch for 10s, losing 7",
        "megatron 44%",  # 26,400 / 24,000 x 40%: windows of 10 s at 8 PFLOPs, one of them at 1
        "kernels, communication, launch gaps",
    ):
        words = shown.replace("megatron 44%", f"megatron {_percent(report.mfu * 1.1)}")
        assert words in flat, words
        assert words in page, words
        assert words.split(" 4")[0] in markdown.replace("\\", ""), words
    assert "macs" not in flat


def _percent(value):
    return f"{100 * value:.3g}%"


def test_text_and_page_show_the_same_cells(report):
    page = Page(RENDERERS["html"](report)).text
    text = text_form.render(report, text_form.Layout(1000))
    for section in sections(report):
        if section.heading == "Timeline":  # the page has charts instead
            continue
        for row in section.rows:
            for cell in row:
                assert " ".join(cell.split()) in page
                assert cell in text


def test_a_terminal_has_a_time_line_of_bars(report):
    lines = RENDERERS["text"](report).splitlines()
    mfu = next(line for line in lines[lines.index("Timeline") :] if line.startswith("MFU  "))
    # 28 windows at 8 PFLOPs, and window 15, the fourteenth after warm-up, at one.
    assert mfu.split() == ["MFU", "5%", "40%", "█" * 13 + "▁" + "█" * 14]
