"""Markdown in which what a user named stays text."""

import re

import pytest

from flopwatch.report.render import RENDERERS, markdown
from flopwatch.report.render.document import Section
from flopwatch.report.report import summarize
from flopwatch.run.records import BudgetLine
from flopwatch.run.run_file import read_run
from tests.report.render.test_charts import rich_run
from tests.report.render.test_facts import healthy
from tests.run.test_run_file import write


def test_a_pull_request_cannot_be_taken_over_by_a_name(tmp_path):
    evil = "</details><script>alert(1)</script> | **bold** [link](http://x) `code`"
    records = rich_run(name=evil, budgets=(BudgetLine(10, "steps", evil),))
    markdown = RENDERERS["md"](summarize(read_run(write(tmp_path / "run.jsonl", records))))
    assert "<script>" not in markdown
    assert re.search(r"(?<!\\)\|[^|\n]*bold", markdown) is None or "\\| \\*\\*bold" in markdown
    assert "[link](" not in markdown


def test_a_number_at_the_start_of_a_sentence_is_no_list():
    assert markdown.plain("1. one") == "1\\. one"
    assert markdown.plain("- one") == "\\- one"
    assert markdown.plain("41.2% of it") == "41.2% of it"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", "a\\|b"),
        ("*bold* _it_ `code` ~no~ #1 $x$ !", r"\*bold\* \_it\_ \`code\` \~no\~ \#1 \$x\$ \!"),
        ("<b>&lt;", r"\<b\>&amp;lt;"),
        ("[a](b)", r"\[a\](b)"),
        ("@team", "&#64;team"),
        ("https://a.b", "https&#58;//a.b"),
        ("www.a.b", "www&#46;a.b"),
        ("two\nlines\tand\x1b[2J", r"two lines and \[2J"),
        ("+ one", "\\+ one"),
        ("2) two", "2\\) two"),
        ("2)two and 1.5", "2)two and 1.5"),
    ],
)
def test_text_is_nothing_but_text(text, shown):
    assert markdown.plain(text) == shown


def test_a_section_is_a_heading_a_table_and_sentences():
    plain = Section("A b", (("name", "va|lue"),), sentences=("one", "two"))
    assert markdown.render_sections([plain]) == (
        "## A b\n\n|  |  |\n| --- | --- |\n| name | va\\|lue |\n\n- one\n- two"
    )
    numbers = Section("", (("a", "1%", "words"),), ("what", "share", "why"))
    assert markdown.render_sections([numbers]) == "| what | share | why |\n| --- | ---: | --- |\n| a | 1% | words |"


def test_a_report_begins_with_its_numbers_and_what_they_are_held_against():
    name, status, verdict, headline, basis, *_ = markdown.render(healthy()).split("\n\n")
    assert (name, status) == ("# GPT", "finished at step 21, on 2 x NVIDIA H100 80GB HBM3")
    assert verdict.startswith("40% MFU of the datasheet's peak")
    assert headline.startswith("**40%** MFU · **24%** run MFU · **16.8 PFLOPs** model FLOPs")
    assert basis.startswith("MFU is relative to a peak of 1 PFLOP/s dense bf16")
