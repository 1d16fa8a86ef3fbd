"""A list of runs as text and as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from flopwatch import units
from flopwatch.report.listing import ListedRun
from flopwatch.report.render import columns

_NARROWEST_NAME = 12
_STATUS = {"killed or still running": "no end"}
_UNLESS_EMPTY = ("loss", "cost")
_TEXTS = ("run", "status", "started")
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
    shown = [(_end_of(row[0], max(room, _NARROWEST_NAME)), *(row[place] for place in known[1:])) for row in rows]
    numeric = [header not in _TEXTS for header in (_HEADERS[place] for place in known)]
    table = "\n".join(columns.table(shown, [_HEADERS[place] for place in known], numeric, width))
    notes = (
        "\n\nno end: no end recorded (killed, or still running)\n" if any(row[1] == "no end" for row in rows) else "\n"
    )
    return f"{table}{notes}"


def _any(rows: Sequence[tuple[str, ...]], place: int) -> bool:
    return any(row[place] for row in rows)


def _room(rows: Sequence[tuple[str, ...]], places: Sequence[int], width: int) -> int:
    """Return how long paths may be beside the other columns; below zero where these are too wide."""
    widths = [max(len(_HEADERS[place]), *(len(row[place]) for row in rows)) for place in places[1:]]
    return width - sum(each + len(columns.GAP) for each in widths)


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
