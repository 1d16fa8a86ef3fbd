"""The page: what it loads, and what cannot get into it."""

import dataclasses

from flopwatch.report.comparison import Entry
from flopwatch.report.render import RENDERERS, html
from flopwatch.report.render.document import Section
from flopwatch.report.report import summarize
from flopwatch.run.run_file import read_run
from tests import samples
from tests.report.render.test_facts import healthy
from tests.report.render.test_renderers import Page
from tests.run.test_run_file import write


def test_the_page_needs_no_network():
    assert Page(html.render(healthy())).loads == []


def test_what_a_user_named_cannot_become_script(tmp_path):
    evil = "</script><script>alert(1)</script>"
    device = dataclasses.replace(samples.H100, name=evil)
    records = [samples.start(name=evil, device=device), *samples.healthy_run()[1:]]
    records[0] = dataclasses.replace(
        records[0], budgets=(dataclasses.replace(records[0].budgets[0], text=evil),), versions={evil: evil}
    )
    page = RENDERERS["html"](summarize(read_run(write(tmp_path / "run.jsonl", records))))
    assert evil not in page
    assert "<script>alert" not in page
    assert "alert(1)" in Page(page).text


def test_the_headline_and_what_to_do_come_before_the_rest():
    page = Page(html.render(healthy())).text
    # The peak of the basis, the advice, then the tables.
    places = [page.index(words) for words in ("40%", "1 PFLOP/s dense", "What to do", "MFU over time", "The run")]
    assert places == sorted(places)
    assert "finished at step 21 on 2 x NVIDIA H100 80GB HBM3" in page
    for column in ("highest", "from start to end"):
        assert column not in page, "charts stand in the place of the time line of bars"


def test_signs_that_turn_text_around_are_shown_as_what_they_are():
    page = Page(html.render(healthy(name="a\u202eb\x07"))).text
    assert "a\ufffdb\ufffd" in page


def test_a_comparison_has_no_headline_and_needs_no_chart():
    parts = [Section("At a glance", (("MFU", "40%"),), ("", "a <b>"), keys=((None, 0.4),))]
    page = html.render_comparison([Entry("a <b>")], parts)
    assert "1 runs" in Page(page).text
    assert "a &lt;b&gt;" in page
    assert 'data-key="0.4"' in page
    assert "plotly" not in page.lower()
