"""The table of the parts: what of the devices' time, FLOPs and money each had."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flopwatch import units
from flopwatch.report import waterfall
from flopwatch.report.render.efficiency import part_words
from flopwatch.report.report import Report
from flopwatch.report.verdict import device_time, hours_words
from flopwatch.report.waterfall import Part
from flopwatch.run import rates
from flopwatch.run.time_kinds import INTERRUPTION, TRAINING


@dataclass(frozen=True)
class Table:
    """Rows and the names of their columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class _Column:
    """A column: its name, the cell of a part, and that of all of them together."""

    name: str
    cell: Callable[[Part, float | None], str]
    whole: str


def parts_table(report: Report, *, counted: bool) -> Table:
    """Return the parts and their sum.

    Args:
        report: A report with parts.
        counted: Whether FLOPs are known, of training steps too.
    """
    columns = [_share(), _wall_time(report)]
    if counted:
        columns.append(_flops(report))
    if any(each.device.count > 1 for each in report.each_process):
        columns.append(_device_time(report))
    if any(part.usd is not None for part in report.parts):
        columns.append(_cost(report))
    shares = waterfall.shares(report.parts)
    rows = [
        (part_words(part.kind), *(column.cell(part, share) for column in columns))
        for part, share in zip(report.parts, shares, strict=True)
    ]
    rows.append(("total", *(column.whole for column in columns)))
    return Table(("", *(column.name for column in columns)), tuple(rows))


def _share() -> _Column:
    return _Column("share", lambda _, share: units.format_share(share), units.format_share(1.0))


def _wall_time(report: Report) -> _Column:
    """Seconds by kind as they were booked; those of training steps are divided as their device time is."""
    inside = sum(part.device_seconds for part in report.parts if part.kind not in report.seconds)
    training = report.seconds.get(TRAINING, 0.0)

    def cell(part: Part, _: float | None) -> str:
        booked = report.seconds.get(part.kind)
        share = rates.fraction(part.device_seconds, inside)
        return units.format_duration(booked if booked is not None or share is None else training * share)

    return _Column("wall time", cell, units.format_duration(report.wall_seconds))


def _flops(report: Report) -> _Column:
    total = sum(part.flops or 0 for part in report.parts)
    return _Column("FLOPs", lambda part, _: units.format_si(part.flops, "FLOPs"), units.format_si(total, "FLOPs"))


def _device_time(report: Report) -> _Column:
    """What is paid for: nothing while no process ran."""
    whole = sum(_paid_seconds(part) for part in report.parts)
    amount, unit = device_time(whole)

    def cell(part: Part, _: float | None) -> str:
        seconds = _paid_seconds(part)
        if unit != "device-hours":
            return units.format_duration(seconds)
        return hours_words(seconds / units.SECONDS_PER_HOUR)

    return _Column(unit, cell, amount)


def _paid_seconds(part: Part) -> float:
    return 0.0 if part.kind == INTERRUPTION else part.device_seconds


def _cost(report: Report) -> _Column:
    total = sum(part.usd or 0.0 for part in report.parts)
    return _Column("cost", lambda part, _: units.format_usd(part.usd), units.format_usd(total))
