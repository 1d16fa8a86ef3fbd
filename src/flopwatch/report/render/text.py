"""The report as text for a terminal: the verdict first, no line longer than the terminal is wide."""

from __future__ import annotations

import math
import os
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

from tabulate import tabulate

from flopwatch import units
from flopwatch.report.render import columns, facts, widths
from flopwatch.report.render.document import LOOKED_UP, sections
from flopwatch.report.render.section import Bar, Section
from flopwatch.report.report import Report
from flopwatch.report.verdict import verdict
from flopwatch.run.records import Work

_LONGEST_BAR, _SHORTEST_BAR = 30, 10
_WIDEST = 120  # lines that are longer are hard to read
_BOLD, _BLUE, _END = "\x1b[1m", "\x1b[34m", "\x1b[0m"
_BARS, _RULE = re.compile("[▁-█▉-▏]+"), re.compile("-+|=+")


@dataclass(frozen=True)
class Layout:
    """How long lines may be, whether they have colours, and whether what is looked up rather than read is shown.

    Those of tables may be `table_width` long, by default no longer than others.
    """

    width: int = 80
    colour: bool = False
    full: bool = True
    table_width: int | None = None


PLAIN = Layout()


def of_terminal(stream: TextIO, *, full: bool = True) -> Layout:
    """Return the layout for what a stream leads to: colours on a terminal alone, and not where `NO_COLOR` is set."""
    has_colours = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = widths.columns()
    return Layout(min(width, _WIDEST), has_colours, full, width)


def render(report: Report, layout: Layout = PLAIN) -> str:
    """Render the report for a terminal."""
    parts = sections(report)
    shown = [section for section in parts if layout.full or section.heading not in LOOKED_UP]
    pieces = [_head(report, layout.width), *(_section(section, layout) for section in shown)]
    if len(shown) < len(parts):
        left_out = ", ".join(section.heading.partition(",")[0] for section in parts if section not in shown)
        pieces.append(_wrapped(f"--full also shows: {left_out}.", layout.width))
    return _finished(pieces, layout)


def render_sections(parts: Sequence[Section], layout: Layout = PLAIN) -> str:
    """Render sections one below the other."""
    return _finished([_section(section, layout) for section in parts], layout)


def _finished(pieces: Sequence[str], layout: Layout) -> str:
    """Join the pieces; nothing that a user named can move a terminal's cursor."""
    text = units.printable("\n\n".join(pieces) + "\n", lines=True)
    return "\n".join(_coloured(text.split("\n"))) if layout.colour else text


def _coloured(lines: Sequence[str]) -> Iterator[str]:
    """Headings, which have a rule below, in bold, and bars in blue."""
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        is_heading = bool(line) and len(line) == len(below) and _RULE.fullmatch(below) is not None
        yield f"{_BOLD}{line}{_END}" if is_heading else _BARS.sub(lambda bar: f"{_BLUE}{bar[0]}{_END}", line)


def _head(report: Report, width: int) -> str:
    """What ran, what it took and came to, the verdict, and what the MFU is relative to."""
    took = ", ".join(words for words in (facts.spent_words(report), facts.loss_words(report)) if words)
    lines = [facts.subtitle(report), took, "", *verdict(report)]
    if report.mfu is not None:
        lines += ["", facts.headline_basis(report)]
    return "\n".join([_heading(report.name or report.run_id, "="), *(_wrapped(line, width) for line in lines)])


def _heading(words: str, rule: str = "-") -> str:
    line = " ".join(words.split())
    return f"{line}\n{rule * len(line)}"


def _wrapped(words: str, width: int, sign: str = "") -> str:
    return textwrap.fill(words, width, initial_indent=sign, subsequent_indent="  ")


def _section(section: Section, layout: Layout) -> str:
    parts = [_heading(section.heading)]
    if section.rows:
        parts += _table(section, (layout.table_width or layout.width) if section.columns else layout.width)
    parts += [_wrapped(sentence, layout.width, "- ") for sentence in section.sentences]
    return "\n".join(parts)


def _table(section: Section, width: int) -> list[str]:
    rows: list[Sequence[str]] = [[" ".join(cell.split()) for cell in row] for row in section.rows]
    names, numeric = list(section.columns), section.numeric if section.columns else (False, False)
    if section.short_names and columns.table_width(rows, names) > width:
        rows = [[short, *row[1:]] for short, row in zip(section.short_names, rows, strict=True)]
    room = width - columns.table_width(rows, names) - len(columns.GAP)
    if section.bars and room >= _SHORTEST_BAR:
        longest = min(room, _LONGEST_BAR)
        rows = [[*row, bar(each, longest)] for row, each in zip(rows, section.bars, strict=True)]
        names, numeric = [*names, ""], (*numeric, True)
        rows = [[*row[:-1], row[-1].ljust(longest)] for row in rows]
    return columns.table(rows, names, numeric, width)


def bar(drawn: Bar | None, longest: int = _LONGEST_BAR) -> str:
    """Return a bar of block characters from where it begins, as long as its share to an eighth of a block."""
    if drawn is None or drawn.share <= 0:
        return ""
    eighths = round(drawn.share * longest * 8)
    full, rest = divmod(eighths, 8)
    first = min(round(drawn.start * longest), longest - math.ceil(eighths / 8))
    return " " * first + "█" * full + ("" if not rest else chr(ord("█") + 8 - rest))


def summary_lines(report: Report) -> list[str]:
    """Return the lines logged at the end of a run: the verdict, then totals and where wall time went."""
    peak = [] if report.mfu is None else [_mfu_summary(report)]
    return [*verdict(report), *peak, _totals_summary(report), _time_summary(report)]


def _mfu_summary(report: Report) -> str:
    kind = (report.device.peak_source or "").partition(":")[0]
    peak = units.format_si(report.device.peak_flops_per_second, "FLOP/s")
    return (
        f"MFU {units.format_percent(report.mfu)} in the training loop, {units.format_percent(report.run_mfu)} over all"
        f" wall time, of {peak} dense {report.device.dtype} per device ({kind})"
    )


def _totals_summary(report: Report) -> str:
    parts = [f"{report.step:,} steps in {units.format_duration(report.wall_seconds)}"]
    if report.totals.counts.flops:
        parts.insert(0, units.format_si(report.totals.counts.flops, "FLOPs"))
    if report.totals.counts.tokens:
        parts += [f"{units.format_count(report.totals.counts.tokens)} tokens"]
    if report.tokens_per_second is not None:
        parts += [f"{units.format_count(report.tokens_per_second)} tokens/s in the training loop"]
    losses = facts.loss_words(report)
    return f"{', '.join(parts)} on {report.device.count} x {report.device.name}{f'; {losses}' if losses else ''}"


def _time_summary(report: Report) -> str:
    shares = (f"{label} {units.format_share(share)}" for label, _, share in facts.time_lines(report))
    return f"wall time: {', '.join(shares)}"


def component_table(work: Work | None, most: int) -> str:
    """Return the per-component table of the first batch, with at most `most` lines; empty if nothing was counted."""
    rows = facts.component_rows(work, most)
    if not rows:
        return ""
    headers = ("component", "parameters", "forward, first batch", "share")
    return tabulate(rows, headers=headers, colalign=("left", "right", "right", "right"), disable_numparse=True)
