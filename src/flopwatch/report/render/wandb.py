"""The text of a W&B Report: runs side by side, as in every other form of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import quote

from flopwatch.report.comparison import Entry
from flopwatch.report.render.comparison import sections
from flopwatch.report.render.markdown import plain, render_sections
from flopwatch.wandb.reports import Text

_IN_ADDRESSES = ":/?=&%#"


def texts(entries: Sequence[Entry]) -> list[Text]:
    """Return the headings and texts above the charts of a W&B Report."""
    links = [f"- [{plain(entry.name)}]({quote(entry.url, safe=_IN_ADDRESSES)})" for entry in entries if entry.url]
    parts = [Text(section.heading, render_sections([replace(section, heading="")])) for section in sections(entries)]
    return [*parts, Text("The runs", "\n".join(links))] if links else parts
