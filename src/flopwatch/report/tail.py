"""Following a running run by its file: what it has logged so far, and what it logs next."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from flopwatch import units
from flopwatch.errors import RunFileError
from flopwatch.files import here
from flopwatch.report.standings import BudgetStanding, standings_of
from flopwatch.run import metrics
from flopwatch.run.metric_table import logger_metrics
from flopwatch.run.moment import Moment
from flopwatch.run.record_lines import Record, from_json
from flopwatch.run.records import Device, End, Start, Window
from flopwatch.run.run_file import LONGEST_LINE
from flopwatch.wandb.live import STEP_AXIS, own_part
from flopwatch.wandb.log import LogReader, has_wandb

Row = Mapping[str, Any]
_BELOW = ("", "*/", "*/*/")  # how deep below a folder a run is looked for
_SAME_SECONDS = 60.0
_WANDB, _RUN_FILE = "*run-*/*.wandb", "flopwatch/*/run*.jsonl"


class Follower(Protocol):
    """Returns a run's rows as they are written."""

    @property
    def ended(self) -> bool:
        """Return whether the run has recorded its end."""

    @property
    def budgets(self) -> tuple[BudgetStanding, ...]:
        """The run's budgets at its last window, as far as the file tells."""

    def rows(self) -> Iterator[Row]:
        """Return the rows since the last call, with their step on Lightning's axis."""


def find(path: Path | None) -> Path:
    """The file of the run that is meant: a `.wandb` file or a run file; the newest one of a folder.

    Args:
        path: A file or folder; `None` for where we are.

    Raises:
        RunFileError: If there is none.
    """
    place = path if path is not None else here()
    if place.is_file():
        return place
    if not place.is_dir():
        raise RunFileError(f"expected a run's file or folder, found nothing at {place}")
    logs = _newest(_below(place, ("*.wandb", f"wandb/{_WANDB}", _WANDB))) if has_wandb() else None
    files = _newest(_below(place, ("run*.jsonl", _RUN_FILE)))
    if logs is None and files is None:
        raise RunFileError(f"expected a W&B run or a flopwatch run file in or below {place}, found none")
    if logs is None or files is None:
        return (logs or files or ("", place))[1]
    # Both are of the same run where they are of the same time; charts are made from W&B's.
    return logs[1] if logs[0] > files[0] - _SAME_SECONDS else files[1]


def _newest(paths: Iterator[Path]) -> tuple[float, Path] | None:
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            if path.is_file():
                found.append((path.stat().st_mtime, path))
    return max(found, default=None)


def _below(folder: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    for depth in _BELOW:
        for pattern in patterns:
            yield from (each for each in folder.glob(f"{depth}{pattern}") if each.is_file())


def follow(path: Path) -> Follower:
    """Return a follower for a file that `find` returned."""
    return WandbFollower(LogReader(path)) if path.suffix == ".wandb" else RunFileFollower(path)


def logged(start: Start, device: Device, window: Window, wall_seconds: float) -> dict[str, float]:
    """Return what the logger got at the end of a window.

    Args:
        start: The process's first record.
        device: Its devices at that time.
        window: The window.
        wall_seconds: Seconds from the run's start to the window's end.
    """
    moment = Moment(
        window=window,
        device=device,
        totals=window.totals,
        capacity_flops=metrics.capacity_flops(start.capacity_flops, window.ended_at - start.time, device),
        wall_seconds=wall_seconds,
        usd_per_device_hour=start.usd_per_device_hour,
        kg_co2_per_kwh=start.kg_co2_per_kwh,
    )
    return logger_metrics(moment)


@dataclass
class WandbFollower:
    """Follows a `.wandb` file: the rows of flopwatch in it, by their own keys without the user's prefix."""

    reader: LogReader
    budgets: tuple[BudgetStanding, ...] = ()

    @property
    def ended(self) -> bool:
        """Return whether the run has recorded its end."""
        return self.reader.ended

    def rows(self) -> Iterator[Row]:
        """Return the rows written since the last call."""
        for row in self.reader.rows():
            own = own_part(row)
            if own is not None:
                numbers = ((key, units.amount(value)) for key, value in own.items())
                yield {key: value for key, value in numbers if value is not None}


@dataclass
class RunFileFollower:
    """Follows flopwatch's own run file."""

    path: Path
    ended: bool = False
    budgets: tuple[BudgetStanding, ...] = ()
    _at: int = 0
    _start: Start | None = None
    _device: Device | None = None

    def rows(self) -> Iterator[Row]:
        """Return the rows written since the last call."""
        for record in self._records():
            if isinstance(record, Start):
                self._start, self._device = record, record.device
            elif isinstance(record, Device):
                self._device = record
            elif isinstance(record, End):
                self.ended = True
            elif isinstance(record, Window) and not record.first and self._start is not None:
                yield self._row(record)

    def _row(self, window: Window) -> Row:
        assert self._start is not None
        self.budgets = standings_of(self._start.budgets, window)
        device = self._device or self._start.device
        wall_seconds = window.ended_at + self._start.set_back_seconds - self._start.started_at
        return {**logged(self._start, device, window, wall_seconds), STEP_AXIS: window.step - 1}

    def _records(self) -> Iterator[Record]:
        """Return the records of complete lines."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._at)
                while line := file.readline(LONGEST_LINE):
                    if not line.endswith(b"\n") and len(line) < LONGEST_LINE:
                        return
                    self._at = file.tell()
                    record = self._record(line)
                    if record is not None:
                        yield record
        except OSError as error:
            raise RunFileError(f"cannot read {self.path}: {error.strerror}; check the path") from None

    def _record(self, line: bytes) -> Record | None:
        try:
            return from_json(line)
        except RunFileError:
            if self._start is None:
                raise RunFileError(f"expected a .wandb file or a flopwatch run file, {self.path} is neither") from None
            return None
