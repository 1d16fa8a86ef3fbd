"""The run file: where it is, and what its JSON lines say when they are read back."""

from __future__ import annotations

import itertools
import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from flopwatch.errors import RunFileError
from flopwatch.run.reading_bar import no_bar
from flopwatch.run.record_lines import Record, from_json
from flopwatch.run.records import Device, End, Event, Hardware, Profile, Progress, Start, Window, Work
from flopwatch.run.window_list import MOST_WINDOWS, WindowList

FILE_NAME = "run.jsonl"
LONGEST_LINE = 4 * 2**20
_MOST_EVENTS = 10_000
_TOLD_EVERY = 1000
_MOST_UNREADABLE = 10_000
_MISSING = "its totals are included; means and anomalies cover the later processes only"


Tell = Callable[[str, int, int], None]


def progress_path(run_file: Path) -> Path:
    """Where the progress of a running process is kept."""
    return run_file.with_suffix(".progress")


def read_start(path: Path) -> Start:
    """The first record of a run file.

    Raises:
        RunFileError: If the file cannot be read or does not begin with a start record.
    """
    _, record = next(_records(path, Dropped()), (0, None))
    if not isinstance(record, Start):
        raise RunFileError(f"expected a flopwatch run file, found no start record in {path}")
    return record


def record_beside(run_file: Path) -> Progress | End | None:
    """How far a process has come by the file beside its run file, or the end that the run file had no room for."""
    beside = progress_path(run_file)
    try:
        if not beside.is_file():
            return None
        with beside.open("rb") as file:
            record = from_json(file.readline(LONGEST_LINE))
    except (OSError, RunFileError):
        return None
    return record if isinstance(record, (Progress, End)) else None


def new_run_file(dirpath: Path | None, root: Path) -> Path:
    """A path that does not exist yet: in the user's folder, or in a new one below `root`, named by the time of day."""
    if dirpath is not None:
        names = (f"run{suffix}.jsonl" for suffix in _suffixes())
        return next(path for name in names if not os.path.lexists(path := dirpath / name))
    now = datetime.now().strftime("%Y%m%d-%H%M%S")
    folders = (root / "flopwatch" / f"{now}{suffix}" for suffix in _suffixes())
    return next(folder for folder in folders if not os.path.lexists(folder)) / FILE_NAME


def _suffixes() -> Iterator[str]:
    yield ""
    yield from (f"-{number}" for number in itertools.count(2))


def report_path(run_file: Path, ending: str) -> Path:
    """Return where the report of a run file goes: `report.html` next to `run.jsonl`."""
    return run_file.with_name(f"{run_file.stem.replace('run', 'report', 1)}.{ending}")


@dataclass(frozen=True)
class Segment:
    """What one process of a run wrote."""

    start: Start
    work: Work | None
    windows: tuple[Window, ...]
    events: tuple[Event, ...]
    end: End | None
    hardware: Hardware | None = None
    profiles: tuple[Profile, ...] = ()


class Gathered:
    """Gathers the records of a process: of most kinds the latest, windows and events in order.

    Args:
        most_windows: How many windows are kept before neighbours are merged.
    """

    def __init__(self, most_windows: int = MOST_WINDOWS) -> None:
        self._windows, self._events = WindowList(most_windows), deque[Event](maxlen=_MOST_EVENTS)
        self._profiles = deque[Profile](maxlen=_MOST_EVENTS)
        self._latest: dict[type[Record], Any] = {}

    def add(self, record: Record) -> None:
        """Add a record."""
        if isinstance(record, Window):
            self._windows.add(record)
        elif isinstance(record, Event):
            self._events.append(record)
        elif isinstance(record, Profile):
            self._profiles.append(record)
        else:
            self._latest[type(record)] = record

    @property
    def has_start(self) -> bool:
        """Whether the start is among them."""
        return Start in self._latest

    def head(self) -> list[Record]:
        """Return the latest record of every kind that occurs once per process; the start first."""
        return [self._latest[kind] for kind in (Start, Device, Hardware, Work) if kind in self._latest]

    def segment(self) -> Segment | None:
        """What the process wrote; `None` without a start."""
        latest = self._latest
        if Start not in latest:
            return None
        start = replace(latest[Start], device=latest.get(Device, latest[Start].device))
        segment = Segment(
            start,
            latest.get(Work),
            self._windows.windows(),
            tuple(self._events),
            latest.get(End),
            latest.get(Hardware),
            tuple(self._profiles),
        )
        return _later(segment, start.set_back_seconds) if start.set_back_seconds else segment


def _later(segment: Segment, seconds: float) -> Segment:
    """A process whose clock had been set back, with the dates that the run's first clock would have told."""
    end, hardware = segment.end, segment.hardware
    return replace(
        segment,
        start=replace(segment.start, time=segment.start.time + seconds),
        windows=tuple(replace(each, ended_at=each.ended_at + seconds) for each in segment.windows),
        events=tuple(replace(each, time=each.time + seconds) for each in segment.events),
        end=None if end is None else replace(end, time=end.time + seconds),
        hardware=None if hardware is None else replace(hardware, time=hardware.time + seconds),
    )


@dataclass(frozen=True)
class Run:
    """A run as its processes wrote it, the first one first; `notes` say what of the files could not be read.

    `earlier_files` are those of the processes before the last one.
    """

    path: Path
    segments: tuple[Segment, ...]
    notes: tuple[str, ...] = ()
    earlier_files: tuple[Path, ...] = ()


def find_run_file(path: Path) -> Path:
    """The run file that a path means: the file itself, or the newest one in or below a folder.

    Raises:
        RunFileError: If there is none.
    """
    try:
        if path.is_dir():
            found = sorted(
                (each for each in path.rglob("run*.jsonl") if each.is_file()), key=lambda each: each.stat().st_mtime
            )
            if not found:
                raise RunFileError(f"expected a flopwatch run file ({FILE_NAME}) in {path}, found none")
            # W&B keeps a copy of what is attached to its run; the report goes beside the original.
            originals = [each for each in found if not {"wandb", "files"} <= set(each.relative_to(path).parts)]
            return (originals or found)[-1]
        if path.is_file():
            return path
    except OSError as error:
        raise RunFileError(f"cannot access {str(path)[:200]}: {error.strerror}; check the path") from None
    raise RunFileError(f"expected a run file or its folder, found nothing at {path}")


def read_run(path: Path, tell: Tell = no_bar) -> Run:
    """Read a run, going back through the processes that it was resumed from as long as their files are there.

    A line cut short at the end, as a killed process leaves it, is dropped with a note.

    Args:
        path: The file of the last process, or a folder.
        tell: Is told how far a file has been read.

    Raises:
        RunFileError: If the file does not exist, is no run file, or is of a newer schema.
    """
    path = find_run_file(path)
    segment, notes = _read_segment(path, tell)
    segments, seen = [segment], {path.resolve()}
    while (earlier := segments[0].start.resumed_from) is not None:
        earlier_path = earlier_file(path, earlier)
        if earlier_path is None or earlier_path.resolve() in seen:
            notes.append(f"the run file that this run was resumed from is missing: {earlier}; {_MISSING}")
            break
        seen.add(earlier_path.resolve())
        try:
            previous, earlier_notes = _read_segment(earlier_path, tell, segments[0].start.step)
        except RunFileError as error:
            notes.append(f"the run file that this run was resumed from cannot be read: {error}; {_MISSING}")
            break
        segments.insert(0, previous)
        notes += earlier_notes
    return Run(path, tuple(segments), tuple(notes), tuple(seen - {path.resolve()}))


def earlier_file(path: Path, earlier: str) -> Path | None:
    """Return a file named by another run file, at its path or, if the folders were moved together, next to this one."""
    name, folder = Path(earlier).name, Path(earlier).parent.name
    candidates = (Path(earlier), path.parent / name, path.parent.parent / folder / name)
    try:
        return next((each for each in candidates if each.is_file() and each.resolve() != path.resolve()), None)
    except OSError:
        return None


def _read_segment(path: Path, tell: Tell, up_to_step: float = math.inf) -> tuple[Segment, list[str]]:
    """What a process wrote; windows after a step that a later one did again are left out."""
    gathered, dropped = Gathered(), Dropped()
    for number, record in _records(path, dropped, tell):
        if isinstance(record, Start) and gathered.has_start:
            raise RunFileError(f"expected one run in {path}, found a second start in line {number}")
        if not isinstance(record, Window) or record.step <= up_to_step:
            gathered.add(record)
    notes: list[str] = []
    beside = record_beside(path)
    if isinstance(beside, End):
        gathered.add(beside)
        notes.append(f"the last records of {path.name} are missing; its totals are from {progress_path(path).name}")
    segment = gathered.segment()
    if segment is None:
        raise RunFileError(f"expected a flopwatch run file, found no start record in {path}")
    if segment.end is None and isinstance(beside, Progress) and math.isinf(up_to_step):
        notes += _further(segment, beside)
    if dropped.count:
        notes.append(f"{dropped.count} unreadable line(s) of {path.name} were skipped, first {dropped.first}")
    return segment, notes


def _further(segment: Segment, progress: Progress) -> Iterator[str]:
    """Says so where a process without an end came further than its last window."""
    last = segment.windows[-1].step if segment.windows else segment.start.step
    if progress.step > last:
        yield f"the process came to step {progress.step:,}; the numbers are those up to step {last:,}"


@dataclass
class Dropped:
    """Lines that could not be read."""

    count: int = 0
    first: str = ""

    def add(self, words: str) -> None:
        """Another one."""
        self.first = self.first or words
        self.count += 1


def _records(path: Path, dropped: Dropped, tell: Tell = no_bar) -> Iterator[tuple[int, Record]]:
    try:
        with path.open("rb") as file:
            number, size = 0, os.fstat(file.fileno()).st_size
            while line := file.readline(LONGEST_LINE):
                number += 1
                if number % _TOLD_EVERY == 0:
                    tell(path.name, file.tell(), size)
                    if dropped.count > _MOST_UNREADABLE:
                        raise RunFileError(f"expected a flopwatch run file, most of {path} is unreadable")
                record = _record(line, path, number, dropped)
                if record is not None:
                    yield number, record
    except OSError as error:
        raise RunFileError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from None


def _record(line: bytes, path: Path, number: int, dropped: Dropped) -> Record | None:
    try:
        return from_json(line)
    except RunFileError as error:
        if number == 1:
            raise RunFileError(f"expected a flopwatch run file, line 1 of {path}: {error}") from None
        dropped.add(f"line {number}: {error}")
        return None
