"""The report as text for a terminal."""

from __future__ import annotations

from tabulate import tabulate

from flopwatch import units
from flopwatch.records import Work
from flopwatch.render import facts
from flopwatch.report import Report


def render(report: Report) -> str:
    """The whole report, about a screen long."""
    sections = [
        _section("flopwatch report", facts.run_lines(report)),
        _section("Speed and totals", facts.speed_lines(report)),
        _section("Restarts", restarts) if (restarts := facts.restart_lines(report)) else "",
        _section("What the GPUs did", hardware) if (hardware := facts.hardware_lines(report)) else "",
        _section("How the work was counted", facts.work_lines(report.work)),
        _time_table(report),
        _component_table(report),
        _notes(report),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def summary_lines(report: Report) -> list[str]:
    """Three lines for the end of a run."""
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
    if report.totals.flops:
        parts.insert(0, units.format_si(report.totals.flops, "FLOPs"))
    if report.totals.tokens:
        parts += [f"{units.format_count(report.totals.tokens)} tokens"]
    if report.tokens_per_second is not None:
        parts += [f"{units.format_count(report.tokens_per_second)} tokens/s in the training loop"]
    return f"{', '.join(parts)} on {report.device.count} x {report.device.name}"


def _time_summary(report: Report) -> str:
    shares = (f"{label} {units.format_share(share)}" for label, _, share in facts.time_lines(report))
    return f"wall time: {', '.join(shares)}"


def _section(title: str, lines: list[facts.Line]) -> str:
    return f"{title}\n{'-' * len(title)}\n{tabulate(lines, tablefmt='plain', disable_numparse=True)}"


def _time_table(report: Report) -> str:
    lines = [
        (label, f"{units.format_duration(seconds)}  {units.format_share(share)}")
        for label, seconds, share in facts.time_lines(report)
    ]
    return _section("Where wall time went", lines) if lines else ""


def _component_table(report: Report) -> str:
    table = component_table(report.work)
    return f"Model\n-----\n{table}" if table else ""


def component_table(work: Work | None, most: int | None = None) -> str:
    """The per-component table of the first batch, with at most so many lines; empty where nothing was counted."""
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


def _notes(report: Report) -> str:
    lines = [f"- {note}" for note in report.notes] + [f"- {event.message}" for event in report.events]
    return "Notes\n-----\n" + "\n".join(lines) if lines else ""
