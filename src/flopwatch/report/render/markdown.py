"""The report as Markdown, for a pull request."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flopwatch.report.render import facts
from flopwatch.report.render.document import sections
from flopwatch.report.render.section import Section
from flopwatch.report.report import Report
from flopwatch.report.verdict import verdict

_MARKUP = re.compile(r"([\\`*_{}\[\]<>|#!$~])")
_LIST = re.compile(r"^(\d*)([.)+-])(?=\s)")


def render(report: Report) -> str:
    """The whole report; what a user named cannot become markup."""
    name = report.name or report.run_id
    headline = [f"**{plain(value)}** {plain(label)}" for label, value in facts.headline(report)]
    parts = [
        f"# {plain(name)}",
        plain(facts.subtitle(report)),
        plain(" ".join(verdict(report))),
        " · ".join(headline),
        plain(facts.headline_basis(report)),
        render_sections(sections(report)),
    ]
    return "\n\n".join(parts) + "\n"


def render_sections(parts: Sequence[Section]) -> str:
    """Render sections one below the other."""
    return "\n\n".join(_section(section) for section in parts)


def plain(text: str) -> str:
    """Text that Markdown takes for nothing but text: no markup, link, mention, list, or sign that turns text around."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    escaped = _MARKUP.sub(r"\\\1", line.replace("&", "&amp;")).replace("@", "&#64;").replace("://", "&#58;//")
    return _LIST.sub(r"\1\\\2", escaped).replace("www.", "www&#46;")


def table(rows: Sequence[Sequence[str]], columns: Sequence[str], numeric: Sequence[bool] | None = None) -> str:
    """A table of Markdown cells; columns of numbers, else all but the first, are aligned to the right."""
    right = numeric or (False, *(True for _ in columns[1:]))
    rule = ["---:" if each else "---" for each in right]
    return "\n".join(f"| {' | '.join(line)} |" for line in (columns, rule, *rows))


def _section(section: Section) -> str:
    parts = [f"## {plain(section.heading)}"] if section.heading else []
    if section.rows:
        rows = [[plain(cell) for cell in row] for row in section.rows]
        columns = [plain(column) for column in section.columns] or ["", ""]
        parts.append(table(rows, columns, section.numeric if section.columns else (False, False)))
    if section.sentences:
        parts.append("\n".join(f"- {plain(sentence)}" for sentence in section.sentences))
    return "\n\n".join(parts)
