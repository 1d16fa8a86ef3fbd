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
_HEADERS = ("run", "status", "started", "wall", "steps", "MFU", "cost")


def render_json(runs: Sequence[ListedRun]) -> str:
    """Render runs as JSON, in base units, unknown as null."""
    return (
        json.dumps({"runs": [{**dataclasses.asdict(each), "path": str(each.path)} for each in runs]}, indent=2) + "\n"
    )


def render_text(runs: Sequence[ListedRun], width: int) -> str:
    """Render runs as a table that fits a terminal; paths lose their beginning where there is no room.

    Args:
        runs: The runs, in order.
        width: Columns of the terminal.
    """
    rows = [_cells(each) for each in runs]
    chosen = [place for place, header in enumerate(_HEADERS) if header != "cost" or any(row[place] for row in rows)]
    widths = [max(len(_HEADERS[place]) + _PADDING, *(len(row[place]) for row in rows)) for place in chosen[1:]]
    room = max(width - sum(each + 2 for each in widths), _NARROWEST_NAME)
    table = tabulate(
        [(_end_of(row[0], room), *(row[place] for place in chosen[1:])) for row in rows],
        headers=[_HEADERS[place] for place in chosen],
        disable_numparse=True,
        colalign=["left", "left", "left", *("right" for _ in chosen[3:])],
    )
    notes = (
        "\n\nno end: no end recorded (killed, or still running)\n" if any(row[1] == "no end" for row in rows) else "\n"
    )
    return f"{table}{notes}"


def _cells(run: ListedRun) -> tuple[str, ...]:
    return (
        _shown(run),
        _STATUS.get(run.status, run.status),
        datetime.fromtimestamp(run.started_at).strftime("%Y-%m-%d %H:%M"),
        units.format_duration(run.wall_seconds),
        f"{run.step:,}",
        units.format_percent(run.mfu),
        "" if run.usd is None else units.format_usd(run.usd),
    )


def _shown(run: ListedRun) -> str:
    """The path as it can be passed to `flopwatch report`: the folder, where it holds the only run file."""
    path = run.path.parent if run.path.name == "run.jsonl" else run.path
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(Path(path))


def _end_of(text: str, room: int) -> str:
    return text if len(text) <= room else f"...{text[-(room - 3) :]}"
