"""The report on a terminal."""

from dataclasses import replace

import pytest

from flopwatch.model.architecture import ComponentRow
from flopwatch.report.render.document import Section
from flopwatch.report.render.text import bar, component_table, render, render_sections, summary_lines
from flopwatch.report.report import summarize
from flopwatch.run.run_file import read_run
from tests import samples
from tests.report.render.test_facts import healthy
from tests.report.render.test_renderers import RUNS
from tests.run.test_run_file import write


@pytest.mark.parametrize("name", RUNS)
def test_the_summary_is_three_lines(name, tmp_path):
    lines = summary_lines(summarize(read_run(write(tmp_path / "run.jsonl", RUNS[name]))))
    assert len(lines) == 3
    assert not any("\n" in line for line in lines)


def test_the_summary_by_hand():
    assert summary_lines(healthy())[:2] == [
        "MFU 40% in the training loop, 24% over all wall time, of 1 PFLOP/s dense bf16 per device (datasheet)",
        "16.8 PFLOPs, 21 steps in 35s, 8.4K tokens, 400 tokens/s in the training loop on 2 x NVIDIA H100 80GB HBM3",
    ]
    # 22 of 35 s.
    assert summary_lines(healthy())[2].startswith("wall time: training steps 62.9%, start-up, through the first batch")


def test_the_summary_leaves_out_what_is_not_known():
    totals = samples.changed(healthy().totals, flops=None, tokens=None)
    assert summary_lines(healthy(totals=totals, tokens_per_second=None))[1] == (
        "21 steps in 35s on 2 x NVIDIA H100 80GB HBM3"
    )


@pytest.mark.parametrize(
    ("share", "drawn"),
    [
        (None, ""),
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
    assert bar(share) == drawn


def test_a_section_has_its_heading_underlined_and_its_bars_at_the_end():
    section = Section("Time", (("a", "25.0%"), ("b", "75.0%")), ("", "share"), (0.25, 0.75), ("A sentence.",))
    lines = render_sections([section]).splitlines()
    assert lines[:2] == ["Time", "----"]
    assert [line.split() for line in lines[4:6]] == [["a", "25.0%", "█" * 7 + "▌"], ["b", "75.0%", "█" * 22 + "▌"]]
    assert lines[6] == "- A sentence."


def test_long_sentences_are_wrapped_and_nothing_moves_the_cursor():
    lines = render_sections([Section("a\x1b[2J", sentences=("word " * 40,))]).splitlines()
    assert lines[0] == "a\ufffd[2J"
    assert all(len(line) <= 110 for line in lines)
    assert lines[3].startswith("  word")


def test_a_cell_of_several_lines_is_one():
    assert "a b" in render_sections([Section("A", (("a\nb", "1"),))])


def test_the_whole_report_has_every_heading():
    shown = render(healthy()).splitlines()
    assert {"The run", "What to do", "Where wall time went", "Definitions"} <= set(shown)


def test_the_components_beyond_the_most_are_one_line():
    rows = tuple(ComponentRow(f"layer{place}", 10, 100 * place) for place in range(1, 5))
    work = replace(samples.WORK, components=rows)
    assert len(component_table(work).splitlines()) == 6
    *_, second, rest = component_table(work, 3).splitlines()
    assert second.split()[0] == "layer2"
    # 300 and 400 of 1,000.
    assert rest.split() == ["2", "more", "20", "700", "FLOPs", "70.0%"]
    assert component_table(None) == ""
