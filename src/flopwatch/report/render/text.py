"""The report as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from tabulate import tabulate

from flopwatch import units
from flopwatch.report.render import facts
from flopwatch.report.render.document import Section, sections
from flopwatch.report.report import Report
from flopwatch.run.records import Work

_BAR, _WIDTH = 30, 110


def render(report: Report) -> str:
    """Render the whole report for a terminal."""
    return render_sections(sections(report))


def render_sections(parts: Sequence[Section]) -> str:
    """Sections below each other; nothing that a user named can move a terminal's cursor."""
    return units.printable("\n\n".join(_section(section) for section in parts) + "\n", lines=True)


def summary_lines(report: Report) -> list[str]:
    """Return the three summary lines logged at the end of a run."""
    return [_mfu_summary(report), _totals_summary(report), _time_summary(report)]


def _mfu_summary(report: Report) -> str:
    reason = facts.no_mfu_reason(report)
    if reason is not None:
        return f"no MFU: {reason}"
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
    return f"{', '.join(parts)} on {report.device.count} x {report.device.name}"


def _time_summary(report: Report) -> str:
    shares = (f"{label} {units.format_share(share)}" for label, _, share in facts.time_lines(report))
    return f"wall time: {', '.join(shares)}"


def _section(section: Section) -> str:
    parts = [f"{section.heading}\n{'-' * len(section.heading)}"]
    if section.rows:
        parts.append(_table(section))
    parts += [
        textwrap.fill(sentence, _WIDTH, initial_indent="- ", subsequent_indent="  ") for sentence in section.sentences
    ]
    return "\n".join(parts)


def _table(section: Section) -> str:
    rows: list[tuple[str, ...]] = [tuple(" ".join(cell.split()) for cell in row) for row in section.rows]
    if not section.columns:
        return tabulate(rows, tablefmt="plain", disable_numparse=True)
    columns = section.columns
    if section.shares:
        rows = [(*row, bar(share)) for row, share in zip(rows, section.shares, strict=True)]
        columns = (*columns, "")
    texts = [not column or column in ("what it counts", "from start to end") for column in columns]
    alignment = ["left" if text else "right" for text in texts]
    return tabulate(rows, headers=columns, colalign=alignment, disable_numparse=True)


def bar(share: float | None) -> str:
    """Return a bar of block characters whose length shows a share."""
    eighths = round(max(share or 0.0, 0.0) * _BAR * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + ("" if not rest else chr(ord("█") + 8 - rest))


def component_table(work: Work | None, most: int | None = None) -> str:
    """Return the per-component table of the first batch, with at most `most` lines; empty if nothing was counted."""
    lines = facts.component_lines(work)
    if most is not None and len(lines) > most:
        rest = lines[most - 1 :]
        shares = [share for _, _, _, share in rest if share is not None]
        merged = (f"{len(rest)} more", sum(line[1] for line in rest), sum(line[2] for line in rest), sum(shares))
        lines = [*lines[: most - 1], merged]
    rows = [
        (name, f"{parameters:,}", units.format_si(flops, "FLOPs"), units.format_share(share))
        for name, parameters, flops, share in lines
    ]
    if not rows:
        return ""
    headers = ("component", "parameters", "forward, first batch", "share")
    return tabulate(rows, headers=headers, colalign=("left", "right", "right", "right"), disable_numparse=True)
