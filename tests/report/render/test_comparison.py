"""Runs side by side in every form."""

import dataclasses
import json

import pytest

from flopwatch.report.comparison import Entry, entry_of
from flopwatch.report.render import charts, comparison
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
