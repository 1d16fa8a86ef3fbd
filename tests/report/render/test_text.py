"""The report on a terminal."""

import io
import re
from dataclasses import replace

import pytest

from flopwatch.model.architecture import ComponentRow
from flopwatch.report.render.document import Bar, Section
from flopwatch.report.render.text import (
    Layout,
    bar,
    component_table,
    of_terminal,
    render,
    render_sections,
    summary_lines,
)
from flopwatch.report.report import summarize
from flopwatch.run.run_file import read_run
from tests import samples
from tests.report.render.test_facts import healthy
from tests.report.render.test_renderers import RUNS
from tests.run.test_run_file import write


@pytest.mark.parametrize("name", RUNS)
def test_every_line_of_a_summary_is_one_line(name, tmp_path):
    lines = summary_lines(summarize(read_run(write(tmp_path / "run.jsonl", RUNS[name]))))
    assert len(lines) >= 3
    assert not any("\n" in line for line in lines)


def test_the_summary_by_hand():
    lines = summary_lines(healthy())
    assert lines[0].startswith("40% MFU of the datasheet's peak")
    assert lines[-3:-1] == [
        "MFU 40% in the training loop, 24% over all wall time, of 1 PFLOP/s dense bf16 per device (datasheet)",
        "16.8 PFLOPs, 21 steps in 35s, 8.4K tokens, 400 tokens/s in the training loop on 2 x NVIDIA H100 80GB HBM3",
    ]
    # 22 of 35 s.
    assert lines[-1].startswith("wall time: training steps 62.9%, start-up, through the first batch")


def test_the_summary_leaves_out_what_is_not_known():
    totals = samples.changed(healthy().totals, flops=None, tokens=None)
    assert summary_lines(healthy(totals=totals, tokens_per_second=None))[-2] == (
        "21 steps in 35s on 2 x NVIDIA H100 80GB HBM3"
    )


@pytest.mark.parametrize(
    ("share", "drawn"),
    [
        (0.0, ""),
        (-0.5, ""),
        (1.0, "█" * 30),
        (0.5, "█" * 15),
        (1 / 240, "▏"),
        (11 / 240, "█▍"),
        (7 / 240, "▉"),
    ],
)
def test_a_bar_is_as_long_as_the_share_to_an_eighth(share, drawn):
    # Thirty blocks of eight eighths: 1/240 is one eighth.
    assert bar(Bar(share)) == drawn


def test_a_bar_begins_where_the_one_before_ended():
    assert bar(Bar(0.5, 0.25), 8) == "  ████"
    assert bar(None) == ""


@pytest.mark.parametrize("share", [place / 1000 for place in (4, 20, 374, 500, 996)])
def test_a_bar_and_what_is_before_it_are_no_longer_than_the_longest(share):
    """Rounding both up would make it a block too long."""
    drawn = bar(Bar(share, 1 - share), 22)
    assert len(drawn) == 22
    assert drawn[-1] != " "


def test_a_section_has_its_heading_underlined_and_its_bars_at_the_end():
    rows = (("a", "25.0%"), ("b", "75.0%"))
    section = Section("Time", rows, ("", "share"), (Bar(0.25), Bar(0.75)), ("A sentence.",))
    lines = render_sections([section]).splitlines()
    assert lines[:2] == ["Time", "----"]
    assert [line.split() for line in lines[4:6]] == [["a", "25.0%", "█" * 7 + "▌"], ["b", "75.0%", "█" * 22 + "▌"]]
    assert lines[6] == "- A sentence."


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("name", RUNS)
def test_no_line_is_longer_than_the_terminal_is_wide(name, width, tmp_path):
    report = summarize(read_run(write(tmp_path / "run.jsonl", RUNS[name])))
    shown = render(report, Layout(width))
    assert max(len(line) for line in shown.splitlines()) <= width
    every_word = set(render(report, Layout(1000)).replace("█", " ").split())
    for word in ("36", "40%", "16.8", "PFLOPs"):
        assert word not in every_word or word in shown.split(), "no number is broken"


def test_rows_have_short_names_where_lines_are_short():
    section = Section("A", (("clock below the peak's clock", "1%"),), ("", "share"), short_names=("low clocks",))
    assert "clock below the peak's clock" in render_sections([section], Layout(60))
    assert render_sections([section], Layout(30)).splitlines()[-1].split() == ["low", "clocks", "1%"]


def test_a_report_begins_with_what_it_took_and_the_verdict():
    lines = render(healthy()).splitlines()
    assert lines[:4] == [
        "GPT",
        "===",
        "finished at step 21, on 2 x NVIDIA H100 80GB HBM3",
        "35s wall time, 1m 10s device time",
    ]
    assert lines[5].startswith("40% MFU of the datasheet's peak")


def test_what_is_looked_up_is_shown_on_demand():
    short, full = render(healthy(), Layout(full=False)), render(healthy())
    assert "Definitions\n-----" in full
    assert "Definitions\n-----" not in short
    assert short.splitlines()[-1] == "--full also shows: Model: first batch on one device, Versions, Definitions."


def test_colours_are_for_headings_and_bars_and_change_no_word():
    plain, coloured = render(healthy()), render(healthy(), Layout(colour=True))
    assert "\x1b[1mWhat to do\x1b[0m\n----------" in coloured
    assert re.search("\x1b\\[34m█+", coloured)
    assert re.sub("\x1b\\[\\d+m", "", coloured) == plain


class Stream(io.StringIO):
    def __init__(self, is_terminal):
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self):
        return self._is_terminal


@pytest.mark.parametrize(
    ("is_terminal", "variables", "expected"),
    [
        (True, {"COLUMNS": "100"}, Layout(100, True, table_width=100)),
        (True, {"COLUMNS": "100", "NO_COLOR": "1"}, Layout(100, False, table_width=100)),
        (True, {"COLUMNS": "100", "NO_COLOR": ""}, Layout(100, True, table_width=100)),
        (True, {"COLUMNS": "100", "TERM": "dumb"}, Layout(100, False, table_width=100)),
        (False, {"COLUMNS": "100"}, Layout(100, False, table_width=100)),
        (True, {"COLUMNS": "300"}, Layout(120, True, table_width=200)),
        (True, {"COLUMNS": "7"}, Layout(40, True, table_width=40)),
    ],
)
def test_the_layout_is_that_of_the_terminal(is_terminal, variables, expected, monkeypatch):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert of_terminal(Stream(is_terminal)) == expected


def test_tables_may_be_wider_than_sentences():
    section = Section("A", (("a", *["1" * 20] * 6),), ("", *["b"] * 6), sentences=("word " * 40,))
    lines = render_sections([section], Layout(80, table_width=200)).splitlines()
    assert [len(line) for line in lines if "11" in line] == [1 + 6 * 22]
    assert max(len(line) for line in lines if "word" in line) <= 80
    assert max(map(len, render_sections([section], Layout(80)).splitlines())) <= 80


def test_long_sentences_are_wrapped_and_nothing_moves_the_cursor():
    lines = render_sections([Section("a\x1b[2J", sentences=("word " * 40,))]).splitlines()
    assert lines[0] == "a\ufffd[2J"
    assert all(len(line) <= 80 for line in lines)
    assert lines[3].startswith("  word")


def test_a_cell_of_several_lines_is_one():
    assert "a b" in render_sections([Section("A", (("a\nb", "1"),))])


def test_the_whole_report_has_every_heading():
    shown = render(healthy()).splitlines()
    assert {"The run", "What to do", "Where wall time went", "Definitions"} <= set(shown)


def test_the_components_beyond_the_most_are_one_line():
    rows = tuple(ComponentRow(f"layer{place}", 10, 100 * place) for place in range(1, 5))
    work = replace(samples.WORK, components=rows)
    assert len(component_table(work, 4).splitlines()) == 6
    *_, second, rest = component_table(work, 3).splitlines()
    assert second.split()[0] == "layer2"
    # 300 and 400 of 1,000.
    assert rest.split() == ["2", "more", "20", "700", "FLOPs", "70.0%"]
    assert component_table(None, 4) == ""
