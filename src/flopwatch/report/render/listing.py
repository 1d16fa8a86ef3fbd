"""A list of runs as text and as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from tabulate import tabulate

from flopwatch import units
from flopwatch.report.listing import ListedRun

_NARROWEST_NAME = 12
_PADDING = 2  # what tabulate adds to a heading
_STATUS = {"killed or still running": "no end"}
_UNLESS_EMPTY = ("loss", "cost")
_HEADERS = ("run", "status", "started", "wall", "steps", "MFU", "loss", "cost")


def render_json(runs: Sequence[ListedRun]) -> str:
    """Render runs as JSON, in base units, unknown as null."""
    return (
        json.dumps({"runs": [{**dataclasses.asdict(each), "path": str(each.path)} for each in runs]}, indent=2) + "\n"
    )


def render_text(runs: Sequence[ListedRun], width: int) -> str:
    """Render runs as a table that fits a terminal; paths lose their beginning where there is no room.

    The loss is shown where no path has to be cut for it.

    Args:
        runs: The runs, in order.
        width: Columns of the terminal.
    """
    rows = [_cells(each) for each in runs]
    known = [place for place, header in enumerate(_HEADERS) if header not in _UNLESS_EMPTY or _any(rows, place)]
    room = _room(rows, known, width)
    if room < max(len(row[0]) for row in rows):
        known = [place for place in known if _HEADERS[place] != "loss"]
        room = _room(rows, known, width)
    table = tabulate(
        [(_end_of(row[0], room), *(row[place] for place in known[1:])) for row in rows],
        headers=[_HEADERS[place] for place in known],
        disable_numparse=True,
        colalign=["left", "left", "left", *("right" for _ in known[3:])],
    )
    notes = (
        "\n\nno end: no end recorded (killed, or still running)\n" if any(row[1] == "no end" for row in rows) else "\n"
    )
    return f"{table}{notes}"


def _any(rows: Sequence[tuple[str, ...]], place: int) -> bool:
    return any(row[place] for row in rows)


def _room(rows: Sequence[tuple[str, ...]], places: Sequence[int], width: int) -> int:
    """Return how long paths may be beside the other columns."""
    widths = [max(len(_HEADERS[place]) + _PADDING, *(len(row[place]) for row in rows)) for place in places[1:]]
    return max(width - sum(each + 2 for each in widths), _NARROWEST_NAME)


def _cells(run: ListedRun) -> tuple[str, ...]:
    return (
        _shown(run),
        _STATUS.get(run.status, run.status),
        datetime.fromtimestamp(run.started_at).strftime("%Y-%m-%d %H:%M"),
        units.format_duration(run.wall_seconds),
        f"{run.step:,}",
        units.format_percent(run.mfu),
        "" if run.loss is None else units.format_loss(run.loss),
        "" if run.usd is None else units.format_usd(run.usd),
    )


def _shown(run: ListedRun) -> str:
    """The path as it can be passed to `flopwatch report`: the folder, where it holds the only run file."""
    path = run.path.parent if run.path.name == "run.jsonl" else run.path
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(Path(path))


def _end_of(text: str, room: int) -> str:
    return text if len(text) <= room else f"...{text[-(room - 3) :]}"
