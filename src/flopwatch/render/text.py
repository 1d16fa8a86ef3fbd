"""The report as text for a terminal."""

from __future__ import annotations

from tabulate import tabulate

from flopwatch import units
from flopwatch.render import facts
from flopwatch.report import Report


def render(report: Report) -> str:
    """The whole report, about a screen long."""
    sections = [
        _section("flopwatch report", facts.run_lines(report)),
        _section("Speed and totals", facts.speed_lines(report)),
        _section("How the work was counted", facts.work_lines(report.work)),
        _time_table(report),
        _component_table(report),
        _notes(report),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def summary_lines(report: Report) -> list[str]:
    """Three lines for the end of a run."""
    device = report.device
    against = facts.peak_text(device)
    steps = f"{report.step:,} steps in {units.format_duration(report.wall_seconds)}"
    return [
        f"MFU {units.format_percent(report.mfu)} in the training loop, {units.format_percent(report.run_mfu)} over all"
        f" wall time; peak of one device: {against}",
        f"{units.format_si(report.totals.flops, 'FLOPs')}, {units.format_count(report.totals.tokens)} tokens, {steps},"
        f" {units.format_count(report.tokens_per_second)} tokens/s on {device.count} x {device.name}",
        "time: " + ", ".join(f"{label} {units.format_share(share)}" for label, _, share in facts.time_lines(report)),
    ]


def _section(title: str, lines: list[facts.Line]) -> str:
    return f"{title}\n{'-' * len(title)}\n{tabulate(lines, tablefmt='plain', disable_numparse=True)}"


def _time_table(report: Report) -> str:
    lines = [
        (label, f"{units.format_duration(seconds)}  {units.format_share(share)}")
        for label, seconds, share in facts.time_lines(report)
    ]
    return _section("Where wall time went", lines) if lines else ""


def _component_table(report: Report) -> str:
    rows = [
        (name, f"{parameters:,}", units.format_si(flops, "FLOPs"), units.format_share(share))
        for name, parameters, flops, share in facts.component_lines(report.work)
    ]
    if not rows:
        return ""
    headers = ("component", "parameters", "forward, first batch", "share")
    table = tabulate(rows, headers=headers, colalign=("left", "right", "right", "right"), disable_numparse=True)
    return f"Model\n-----\n{table}"


def _notes(report: Report) -> str:
    lines = [f"- {note}" for note in report.notes] + [f"- {event.message}" for event in report.events]
    return "Notes\n-----\n" + "\n".join(lines) if lines else ""
