"""The page: what it loads, and what cannot get into it."""

import dataclasses
from dataclasses import replace

from flopwatch.report.comparison import Entry
from flopwatch.report.render import RENDERERS, html
from flopwatch.report.render.document import Section
from flopwatch.report.report import summarize
from flopwatch.report.waterfall import Part
from flopwatch.run.records import Event
from flopwatch.run.run_file import read_run
from tests import samples
from tests.report.render.test_facts import healthy
from tests.report.render.test_renderers import Page
from tests.run.test_run_file import write


def test_the_page_needs_no_network():
    loads = Page(html.render(healthy())).loads
    assert loads
    assert all(each.startswith("#") for each in loads), "all that is referred to is in the page"


def test_the_contents_lead_to_every_section():
    page = html.render(healthy())
    for anchor in Page(page).loads:
        assert page.count(f'id="{anchor[1:]}"') == 1, anchor


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
    # The verdict, the peak of the basis, the contents, the advice, then the charts and tables.
    shown = ("40% MFU of the datasheet's peak", "1 PFLOP/s dense", "Over time", "validate less often", "DDPStrategy")
    places = [page.index(words) for words in shown]
    assert places == sorted(places)
    assert "finished at step 21, on 2 x NVIDIA H100 80GB HBM3" in page
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
    assert "<svg" not in page


def test_a_long_run_with_many_restarts_is_a_small_page():
    report = healthy()
    one = report.points[-1]
    points = tuple(
        replace(one, seconds=10.0 * place, mfu=0.4 + place % 997 / 1e4, first=place % 20 == 0, pauses=("validation",))
        for place in range(32_768)
    )
    events = tuple(Event(float(place), "x" * 10_000) for place in range(5_000))
    processes = report.each_process * 1_600
    long = replace(report, points=points, events=events, processes=1_600, each_process=processes, notes=("y" * 10**6,))
    assert 60_000 < len(html.render(long)) < 300_000


def test_every_mark_and_line_has_a_legend_and_every_bar_its_place():
    report = healthy()
    later = replace(report.each_process[0], started_at=report.started_at + 20.0)
    parts = (Part("setup", 1, 1.0, None), Part("useful", 3, 3.0, None))
    page = html.render(replace(report, each_process=(*report.each_process, later), parts=parts))
    for tone, name in (
        ("restart", "restart"),
        ("note", "note"),
        ("mfu", "MFU"),
        ("reference dashed", "the peak&#39;s clock"),
    ):
        assert f'<span class="key {tone}"><i></i>{name}' in page
    assert '<div class="loss" style="margin-left:75.00%;width:25.00%"></div>' in page
    assert '<div class="useful" style="margin-left:0.00%;width:75.00%"></div>' in page
    assert page.count('<tr class="total">') == 1


def test_losses_have_a_chart_for_each_cost_which_are_moved_apart():
    report = healthy()
    losses = (4.0, 3.0, 2.0)
    points = [replace(each, loss=loss, usd=loss) for each, loss in zip(report.points, losses, strict=True)]
    points[-1] = replace(points[-1], validation_loss=2.5)
    page = html.render(replace(report, points=tuple(points), loss=2.0, validation_loss=2.5))
    loss = page.partition('<section id="loss"')[2].partition("</section>")[0]
    assert loss.count('<div class="stack">') == loss.count("<figure") == 2
    # 8.8 of 16.8 PFLOPs are 52,381 of 100,000; 3 of 1.9 to 4.1 is half way up, and the dot is at 2.5.
    assert "L52381 50000L100000 95455" in loss
    assert '<path class="line validation dots" d="M100000 72727h0"/>' in loss
    assert "from start to end" not in loss


def test_a_chart_can_be_read_without_sight_and_without_script():
    page = html.render(healthy())
    assert 'aria-label="MFU; MFU from 40% to 40%, last 40%; MFU at clock from 50% to 50%, last 50%."' in page
    assert "<noscript" not in page
    assert '<path class="line mfu" d="M' in page
