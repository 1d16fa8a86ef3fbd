"""Reports as text, Markdown, JSON and HTML: `render(report) -> str` for each, all printing the same values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flopwatch.report.report import Report


def _text(report: Report) -> str:
    from flopwatch.report.render import text

    return text.render(report)


def _markdown(report: Report) -> str:
    from flopwatch.report.render import markdown

    return markdown.render(report)


def _json(report: Report) -> str:
    from flopwatch.report.render import json

    return json.render(report)


def _html(report: Report) -> str:
    from flopwatch.report.render import html

    return html.render(report)


RENDERERS: Mapping[str, Callable[[Report], str]] = MappingProxyType(
    {"text": _text, "md": _markdown, "json": _json, "html": _html}
)
