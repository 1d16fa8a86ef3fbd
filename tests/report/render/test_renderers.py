import dataclasses
import json
from html.parser import HTMLParser

import pytest

from flopwatch.report.render import RENDERERS, charts
from flopwatch.report.render.charts import thinned
from flopwatch.report.render.text import summary_lines
from flopwatch.report.report import summarize
from flopwatch.run.records import Device
from flopwatch.run.run_file import read_run
from tests import samples
from tests.run.test_run_file import write

RUNS = {
    "empty": [samples.start()],
    "healthy": samples.healthy_run(),
    "read": [samples.start(), samples.HARDWARE, *samples.healthy_run()[1:]],
    "unread": [samples.start(), dataclasses.replace(samples.HARDWARE, driver=None, energy_source=None)],
    "killed": samples.healthy_run()[:4],
    "no device": [samples.start(device=Device("CPU", 1, "fp32", peak_source="a CPU has no datasheet peak"))],
}


@pytest.fixture(params=RUNS)
def report(request, tmp_path):
    return summarize(read_run(write(tmp_path / "run.jsonl", RUNS[request.param])))


@pytest.fixture
def healthy(tmp_path):
    return summarize(read_run(write(tmp_path / "run.jsonl", samples.healthy_run())))


class Page(HTMLParser):
    """Collects the text that a reader sees, and everything that the page would load."""

    def __init__(self, html):
        super().__init__()
        self.seen, self.loads, self._skip = [], [], 0
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self._skip += tag in ("script", "style")
        self.loads += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        self._skip -= tag in ("script", "style")

    def handle_data(self, data):
        if not self._skip:
            self.seen.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.seen).split())


@pytest.mark.parametrize("form", RENDERERS)
def test_every_form_renders_every_run(report, form):
    page = RENDERERS[form](report)
    assert page.endswith("\n") or page.rstrip().endswith("</html>")
    assert "None" not in (Page(page).text if form == "html" else page)


def test_what_the_gpus_did_is_said_in_words(tmp_path):
    records = [samples.start(), samples.HARDWARE, *samples.healthy_run()[1:]]
    report = summarize(read_run(write(tmp_path / "run.jsonl", records)))
    text, page = " ".join(RENDERERS["text"](report).split()), Page(RENDERERS["html"](report)).text
    for shown in (
        "580.95.05, NVIDIA H100 80GB HBM3",
        "1600 MHz mean, 1500 MHz minimum; the peak assumes 1830 MHz",
        "25.0% of the time (by the driver's counters): power cap 25.0%",
        "10.0% of busy time, with no reason from the driver",
        # 1,200 W over 35 s are 42,000 J.
        "0.0117 kWh for the GPUs, from the driver's counter",
        "1.2 kW over all GPUs",
        "3.6 J",
        "1.8 pJ",
        "55% of cycles (GPM); at the actual clock, equivalent to an MFU of 44%",
        "utilization (Not Supported)",
    ):
        assert shown in text, shown
        assert shown in page, shown
    assert "time throttled" in page


def test_the_forms_agree(healthy):
    text, page = RENDERERS["text"](healthy), Page(RENDERERS["html"](healthy)).text
    values = json.loads(RENDERERS["json"](healthy))
    assert values["mfu"] == healthy.mfu
    assert values["totals"]["flops"] == 16_800 * 10**12
    for shown in (
        "40%",
        "24%",
        "16.8 PFLOPs",
        "8.4K",
        "1 PFLOP/s dense bf16",
        "layers.mlp",
        "75.0%",
        "a note of the run",
    ):
        assert shown in text, shown
        assert shown in page, shown


def test_a_ratio_never_stands_without_its_peak_precision_and_convention(healthy):
    for form in ("text", "html"):
        page = RENDERERS[form](healthy)
        for said in ("1 PFLOP/s dense bf16 (datasheet: a sheet)", "causal: unmasked pairs only", "parameters exactly"):
            assert said in page.replace("&#39;", "'"), (form, said)


def test_no_mfu_says_why(tmp_path):
    records = [*RUNS["no device"], samples.WORK]
    report = summarize(read_run(write(tmp_path / "run.jsonl", records)))
    assert summary_lines(report)[0] == "No MFU: a CPU has no datasheet peak."


def test_an_mfu_above_one_is_shown_as_it_is(tmp_path):
    records = [samples.start(), samples.WORK, samples.window(10, 1010.0, 22_600 * 10**12)]
    report = summarize(read_run(write(tmp_path / "run.jsonl", records)))
    for form in ("text", "html"):
        assert "113%" in RENDERERS[form](report)
        assert "MFU is above 100%: check the peak (datasheet: a sheet)" in RENDERERS[form](report)


def test_the_charts_have_a_gap_where_no_process_ran(tmp_path):
    first = write(tmp_path / "a" / "run.jsonl", samples.healthy_run())
    resumed = samples.start(time=1065.0, step=21, resumed_from=str(first.resolve()))
    warm_up = samples.window(22, 1070.0, 0, first=True)
    later = samples.window(31, 1080.0, totals=samples.totals(31, 1080.0, 24_800 * 10**12))
    path = write(tmp_path / "b" / "run.jsonl", [resumed, samples.WORK, warm_up, later])
    mfu, *_ = charts.charts(summarize(read_run(path)))["Timeline"].charts
    assert [value for _, value in mfu.lines[0].points] == [0.4, 0.4, None, 0.4]


def test_thinning_keeps_the_extremes_and_the_order():
    points = [(float(x), float(x % 97)) for x in range(50_000)]
    points[31_234] = (31_234.0, -5.0)
    points[40_000] = (40_000.0, 500.0)
    kept = thinned(points, 1000)
    assert len(kept) <= 1000
    assert kept == sorted(kept)
    assert {(31_234.0, -5.0), (40_000.0, 500.0)} <= set(kept)
    assert thinned(points[:900], 1000) == points[:900]


def test_restarts_and_what_they_cost_are_said_in_words(tmp_path):
    totals = dataclasses.replace(
        samples.totals(21, 1035.0, 16_800 * 10**12), lost_steps=6, lost_flops=4_800 * 10**12, lost_seconds=8.0
    )
    totals = dataclasses.replace(totals, seconds_by_kind={"training": 20.0})
    records = [*samples.healthy_run()[:-1], dataclasses.replace(samples.end(), totals=totals)]
    report = summarize(read_run(write(tmp_path / "run.jsonl", records)))
    for form in ("text", "html"):
        page = " ".join(RENDERERS[form](report).split())
        assert "6 steps (4.8 PFLOPs, 8s) were repeated" in page
        assert "57.1% (of wall time in kept training steps)" in page  # 20 of 35 s
        assert (
            "steps 0 to 21 on 2 x NVIDIA H100 80GB HBM3, 4 x 100 tokens, MFU 40% of 1 PFLOP/s per device, finished"
        ) in page


def test_no_name_moves_a_terminals_cursor_or_turns_text_around(tmp_path):
    evil = "a\x1b]0;title\x07\x1b[2J\u202eb @team www.evil.example https://evil.example &lt;b&gt;"
    report = summarize(read_run(write(tmp_path / "run.jsonl", [samples.start(name=evil), *samples.healthy_run()[1:]])))
    for form in ("text", "md"):
        page = RENDERERS[form](report)
        assert all(each.isprintable() or each == "\n" for each in page)
    assert "@team" not in RENDERERS["md"](report)
    assert "https://" not in RENDERERS["md"](report)
