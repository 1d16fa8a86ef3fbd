"""What the charts of the page hold, and runs side by side in every form."""

import dataclasses
import html
import json

import pytest

from flopwatch.report.render import RENDERERS, charts
from flopwatch.report.render.document import sections
from flopwatch.report.report import summarize
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


def figures(page):
    """Traces and layouts of a page's charts, by their headings."""
    found = {}
    for heading, chart in page:
        data, rest = json.JSONDecoder().raw_decode(chart, chart.index('[{"'))
        found[heading] = (data, rest)
    return {heading: data for heading, (data, _) in found.items()}


def test_the_waterfall_falls_from_all_of_the_peak_to_what_was_useful(report):
    (trace,) = figures(charts.charts(report))["Where the peak went"]
    assert trace["x"][0] == 1.0
    assert sum(trace["x"][:-1]) == pytest.approx(trace["x"][-1])
    useful = next(part for part in report.parts if part.kind == "useful")
    assert trace["x"][-1] == pytest.approx(useful.flops / sum(part.flops for part in report.parts))
    assert (trace["y"][0], trace["y"][-1]) == ("full peak", "useful")


def test_the_budget_fans_out_where_the_run_has_not_ended(report):
    used, interval, expected = figures(charts.charts(report))["The budget"]
    # The last window ended 348 s after the start; it has 600 s left, 500 to 700. Minutes, as it is longer than two.
    assert used["y"][-1] == 0.29
    assert interval["x"] == pytest.approx([348 / 60, 848 / 60, 1048 / 60, 348 / 60])
    assert interval["y"] == pytest.approx([0.29, 1.0, 1.0, 0.29])
    assert expected["x"] == pytest.approx([348 / 60, 948 / 60])


def test_a_finished_run_has_no_fan(tmp_path):
    records = rich_run()
    records[-1] = dataclasses.replace(records[-1], status="finished")
    report = summarize(read_run(write(tmp_path / "run.jsonl", records)))
    assert len(figures(charts.charts(report))["The budget"]) == 1
    assert report.seconds_left is None


def test_events_and_dips_are_marks_with_their_words(report):
    *_, marks = figures(charts.charts(report))["MFU over time"]
    # The event after 100 s; the dip in window 15, which began after 14 x 12 s.
    assert marks["x"] == pytest.approx([100 / 60, 168 / 60])
    assert html.unescape(marks["text"][0]) == "look <here>"
    assert "were 87.5% slower than the best stretch" in marks["text"][1]


def test_validations_and_checkpoints_are_ticks(tmp_path):
    records = rich_run()
    records[5] = dataclasses.replace(records[5], pause_seconds={"validation": 2.0, "checkpoint": 0.0})
    report = summarize(read_run(write(tmp_path / "run.jsonl", records)))
    (validation,) = (line for line in figures(charts.charts(report))["MFU over time"] if line["name"] == "validation")
    assert validation["x"] == pytest.approx([4 * 12 / 60])  # the fourth window
    assert "checkpoint" not in {line["name"] for line in figures(charts.charts(report))["MFU over time"]}


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
    text = RENDERERS["text"](report)
    for section in sections(report):
        if section.heading == "Timeline":  # the page has charts instead
            continue
        for row in section.rows:
            for cell in row:
                assert " ".join(cell.split()) in page
                assert cell in text


def test_a_terminal_has_a_time_line_of_bars(report):
    lines = RENDERERS["text"](report).splitlines()
    (mfu,) = (line for line in lines[lines.index("Timeline") :] if line.startswith("MFU  "))
    # 28 windows at 8 PFLOPs, and window 15, the fourteenth after warm-up, at one.
    assert mfu.split() == ["MFU", "5%", "40%", "█" * 13 + "▁" + "█" * 14]


def test_the_page_starts_as_a_page_and_stays_small(report):
    page = RENDERERS["html"](report)
    assert page.startswith("<!doctype html>")
    assert len(page) < 6 * 2**20
