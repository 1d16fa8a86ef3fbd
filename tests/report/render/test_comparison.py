"""Runs side by side in every form."""

import dataclasses
import json

import pytest

from flopwatch.report.comparison import Entry, entry_of
from flopwatch.report.points import Point
from flopwatch.report.render import charts, comparison
from flopwatch.report.render.text import Layout, render_sections
from flopwatch.report.report import summarize
from flopwatch.run.run_file import read_run
from tests import samples
from tests.report.render.test_charts import rich_run
from tests.report.render.test_renderers import Page
from tests.run.test_run_file import write


@pytest.fixture
def report(tmp_path):
    return summarize(read_run(write(tmp_path / "run.jsonl", rich_run())))


@pytest.fixture
def entries(tmp_path, report):
    slower = rich_run(name="b", run_id="two")
    slower[2:-2] = [
        samples.changed(each, flops=each.counts.flops // 2, first=False, throttled_frac=0.5) for each in slower[2:-2]
    ]
    other = summarize(read_run(write(tmp_path / "two" / "run.jsonl", slower)))
    return [entry_of(report), entry_of(other)]


@pytest.mark.parametrize("form", comparison.RENDERERS)
def test_every_form_compares(entries, form):
    page = comparison.RENDERERS[form](entries)
    shown = Page(page).text if form == "html" else page
    if form == "json":
        values = json.loads(page)
        assert [run["numbers"]["mfu"] for run in values["runs"]] == [entry.numbers["mfu"] for entry in entries]
        assert values["totals"]["flops"] == 2 * 16_800 * 10**12
        return
    assert f"★ {100 * entries[0].numbers['mfu']:.3g}%" in shown
    assert "33.6 PFLOPs" in shown
    assert "None" not in shown


def test_many_runs_have_a_line_each(entries):
    many = [dataclasses.replace(entries[0], name=f"run {place}") for place in range(100)]
    lines = comparison.RENDERERS["text"](many).splitlines()
    assert sum(line.startswith("run ") for line in lines) >= 100
    (chart,) = charts.overlay(many).charts
    assert (chart.heading, len(chart.lines)) == ("MFU of the first 12 of 100 runs with a timeline", 12)


def test_of_runs_that_are_the_same_as_shown_none_is_the_best():
    (row,) = section([Entry("a", {"mfu": 0.4}), Entry("b", {"mfu": 0.4 + 1e-9}), Entry("c")], "At a glance").rows
    assert row == ("MFU", "40%", "40%", "n/a")


def test_parts_have_short_names_for_a_narrow_terminal():
    parts = {"setup": 0.25, "rest": 0.25, "useful": 0.5}
    runs = [Entry(f"a run with a long name, {place}", parts=parts) for place in range(4)]
    narrow = render_sections([section(runs, "Where the peak went")], Layout(80))
    assert any(line.split()[:2] == ["useful", "50.0%"] for line in narrow.splitlines())
    assert max(map(len, narrow.splitlines())) <= 80
    wide = render_sections([section(runs, "Where the peak went")], Layout(200))
    assert "kernels, communication, launch gaps" in wide


def test_runs_without_a_timeline_are_not_among_those_with_one(entries):
    few = [*(dataclasses.replace(entries[0], name=f"run {place}") for place in range(3)), Entry("bare")]
    (chart,) = charts.overlay(few).charts
    assert (chart.heading, len(chart.lines)) == ("MFU", 3)


def test_parts_of_wall_time_beside_parts_of_the_peak_are_explained():
    counted, timed = Entry("a", parts={"useful": 1.0}), Entry("b", parts={"training": 1.0})
    words = "Where FLOPs or the peak are unknown, training steps are not divided, and parts are shares of wall time."
    assert words in section([counted, timed], "How to read it").sentences
    assert words not in section([counted, counted], "How to read it").sentences
    assert words not in section([timed, timed], "How to read it").sentences


def test_runs_whose_loss_cannot_be_held_against_the_others_are_named():
    bare = [Entry(f"run {place}", {"loss": 2.0}, no_points="W&B has none") for place in range(6)]
    assert section(bare, "How to read it").sentences[-1] == (
        "Loss at equal FLOPs is unknown for run 0, run 1, run 2, run 3 and 2 more: W&B has none."
    )


def losing(name, lr, *losses):
    points = tuple(
        Point(*(float(step), step, 0.4, None, None, 100 * step, None, False), loss=loss)
        for step, loss in enumerate(losses, 1)
    )
    hyperparameters = {"lr": lr, "depth": 12}
    return Entry(name, {"loss": losses[-1]}, parts={"useful": 1.0}, points=points, hyperparameters=hyperparameters)


def test_runs_are_called_by_what_differs_and_compared_at_equal_flops():
    runs = [losing("first", 0.1, 4.0, 3.0, 2.5), losing("second", 0.2, 5.0, 2.75)]
    glance = section(runs, "At a glance")
    assert glance.columns == ("", "lr 0.1", "lr 0.2")
    assert glance.rows[:2] == (("loss", "★ 2.5", "2.75"), ("loss at equal FLOPs", "3", "★ 2.75"))
    assert section(runs, "How each run was counted").rows[0] == ("run", "first", "second")
    assert "the training loss at 200 FLOPs, the most" in section(runs, "How to read it").sentences[1]
    page = comparison.RENDERERS["html"](runs)
    assert "Loss over model FLOPs" in Page(page).text
    assert page.count('class="mix"') == 2
    values = json.loads(comparison.RENDERERS["json"](runs))
    assert values["equal_flops"] == 200
    assert [run["numbers"]["loss_at_equal_flops"] for run in values["runs"]] == [3.0, 2.75]
    assert [run["name"] for run in values["runs"]] == ["first", "second"]


def test_more_than_names_can_hold_has_a_table():
    runs = [Entry(each, hyperparameters=dict.fromkeys("abcd", each)) for each in ("x", "y")]
    assert section(runs, "Hyperparameters that differ").rows == tuple((each, "x", "y") for each in "abcd")


def test_tokens_are_held_against_device_hours_where_a_run_has_no_price():
    priced, unpriced = {"tokens_per_usd": 10.0, "tokens_per_device_hour": 20.0}, {"tokens_per_device_hour": 30.0}
    rows = dict(row[:2] for row in section([Entry("a", priced), Entry("b", priced)], "At a glance").rows)
    assert rows == {"tokens per dollar": "10"}
    rows = dict(row[:2] for row in section([Entry("a", priced), Entry("b", unpriced)], "At a glance").rows)
    assert rows == {"tokens per dollar": "10", "tokens per device-hour": "20"}


TWO = [Entry("a", {"mfu": 0.5, "flops": 10**15}, {"model": "gpt"}), Entry("b", {"mfu": 0.25})]


def section(entries, heading):
    return {each.heading: each for each in comparison.sections(entries)}[heading]


def test_few_runs_are_columns_and_unknown_is_said():
    glance = section(TWO, "At a glance")
    assert glance.columns == ("", "a", "b")
    assert glance.rows == (("MFU", "★ 50%", "25%"), ("model FLOPs", "1 PFLOPs", "n/a"))
    # FLOPs of one run alone are no total.
    assert section(TWO, "Totals").rows == (("runs", "2"),)
    assert section(TWO, "How each run was counted").rows == (("model", "gpt", "n/a"),)


def test_seven_runs_are_lines_that_can_be_sorted_by_their_numbers():
    entries = [Entry(str(place), {"mfu": place / 10}) for place in range(7)]
    glance = section(entries, "At a glance")
    assert glance.columns == ("", "MFU")
    assert glance.rows[1] == ("1", "10%")
    assert glance.rows[6] == ("6", "★ 60%")
    assert glance.keys[1] == (None, 0.1)


def test_little_is_told_without_an_exponent_and_equal_numbers_are_no_best():
    few = [Entry("a", {"device_hours": 7.29e-5, "mfu": 0.40001}), Entry("b", {"device_hours": 2.0, "mfu": 0.4})]
    assert section(few, "At a glance").rows == (("MFU", "40%", "40%"), ("device-hours", "<0.01", "2"))


def test_a_kind_of_time_that_a_run_does_not_have_took_none_and_what_is_unknown_is_not_known():
    runs = [Entry("a", parts={"lost": 0.1, "clock": 0.2, "useful": 0.7}), Entry("b", parts={"useful": 1.0})]
    rows = {row[0]: row[1:] for row in section(runs, "Where the peak went").rows}
    assert rows["steps repeated after restarts, and their start-up"] == ("10.0%", "0.0%")
    assert rows["clock below the peak's clock"] == ("20.0%", "n/a")


def test_what_no_run_knows_has_no_line_and_no_section():
    headings = [each.heading for each in comparison.sections([Entry("a"), Entry("b")])]
    assert headings == ["Totals", "How to read it"]


def test_flops_are_whole_numbers_in_json_and_the_time_line_is_left_out():
    values = json.loads(comparison.RENDERERS["json"]([Entry("a", {"flops": 10**30 + 1}), Entry("b", {"flops": 1})]))
    nothing = {"facts": {}, "parts": {}, "hyperparameters": {}, "url": None}
    assert values["runs"][0] == {"name": "a", "numbers": {"flops": 10**30 + 1}, **nothing}
    assert values["equal_flops"] is None
    assert values["totals"] == {"flops": 10**30 + 2}
