"""What the page's script does, in Chromium where there is one."""

import json
import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from flopwatch.report.render import html
from flopwatch.run.records import Event
from tests.report.render.test_facts import healthy

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")]
DRIVER = """<script>
const said = [], plots = [...document.querySelectorAll(".plot")];
const words = (within, which) => [...within.querySelectorAll(which)].map(each => each.textContent);
const texts = () => plots.map(plot => words(plot.closest(".chart"), "output"));
const at = (kind, share, more = {}) => {
  const box = plots[0].getBoundingClientRect();
  const options = { clientX: box.left + share * box.width, clientY: box.top + 5, pointerId: 1, bubbles: true, ...more };
  plots[0].dispatchEvent(new PointerEvent(kind, options));
};
plots[0].setPointerCapture = () => {};
at("pointermove", 0.5); said.push(texts(), document.querySelector(".said").textContent);
at("pointermove", 0.95); said.push(texts());
at("pointerleave", 0.95); said.push(texts());
at("pointerdown", 0.5, { pointerType: "mouse", button: 0 }); at("pointerup", 1);
const svg = () => plots.map(plot => plot.querySelector("svg").getAttribute("viewBox"));
const reset = document.querySelector(".reset");
said.push(svg(), words(plots[1], "i.x"), reset.hidden);
reset.click(); said.push(svg()[0]);
plots[0].dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" })); said.push(texts()[0]);
document.body.textContent = "SAID" + JSON.stringify(said) + "DIAS";
</script>"""


@pytest.fixture
def said(tmp_path):
    first, *_, last = healthy().points
    # Five minutes; MFU from 40% to 42%, a gap where a process ended after 100 s.
    points = [replace(last, seconds=10.0 * place, mfu=0.4 + 0.001 * place, first=place == 0) for place in range(1, 11)]
    points += [replace(last, seconds=10.0 * place, mfu=0.4 + 0.001 * place) for place in range(20, 31)]
    points[10] = replace(points[10], first=True)
    report = replace(healthy(), points=(replace(first, seconds=0.0), *points), events=(Event(1150.0, "half-time"),))
    page = tmp_path / "page.html"
    page.write_text(html.render(report).replace("</body>", f"{DRIVER}</body>"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'chromium'}", "--dump-dom"]
    run = subprocess.run(["chromium", *options, page.as_uri()], capture_output=True, text=True, timeout=60)
    return json.loads(re.search(r"SAID(.*?)DIAS", run.stdout, re.DOTALL)[1].replace("&amp;", "&"))


def test_the_cursor_zoom_and_keys_tell_values_of_the_report(said):
    middle, words, late, left, zoomed, labels, reset_hidden, whole, by_key = said
    # At 150 s no process ran: no value, the peak's clock, and the note of that time.
    assert middle[0][0] == ""
    assert middle[0][-1] == "at 2m 30s"
    assert words == "half-time"
    # At 285 s the nearest window is that of 280 or 290 s: 42.8% or 42.9%.
    assert late[0][0] in ("42.8%", "42.9%")
    assert all(each[-1] == "at 4m 45s" for each in late)
    assert all(each == "" for chart in left for each in chart)
    assert set(zoomed) == {"50000 0 50000 100000"}, "all charts of a stack go together"
    assert labels == ["2m 30s", "3m", "3m 30s", "4m", "4m 30s", "5m"]
    assert reset_hidden is False
    assert whole == "0 0 100000 100000"
    assert by_key[-1].startswith("at 2m 3")
