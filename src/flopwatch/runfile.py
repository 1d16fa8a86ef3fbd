"""The run file: JSON lines, written by a thread of its own so that no disk can hold up training, and read back."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from flopwatch.errors import RunFileError
from flopwatch.records import Device, End, Event, Hardware, Record, Start, Window, Work, from_json, to_json

FILE_NAME = "run.jsonl"
_CLOSE_SECONDS = 10.0
_LONGEST_LINE = 4 * 2**20
_logger = logging.getLogger("flopwatch")


class RunFileWriter:
    """Appends records to a file from a daemon thread; whatever goes wrong there is logged once and survived.

    Args:
        path: The file, made anew with its folders.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.error: OSError | None = None
        self._queue: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="flopwatch-runfile", daemon=True)
        self._thread.start()

    def write(self, record: Record) -> None:
        """Queue a record; returns at once. After a failure nothing more is kept."""
        if self.error is None:
            self._queue.put(record)

    def close(self) -> bool:
        """Write what is queued and close the file; tells whether everything is on disk."""
        self._queue.put(None)
        self._thread.join(_CLOSE_SECONDS)
        return self.error is None and not self._thread.is_alive()

    def _write_all(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("x", encoding="utf-8") as file:
                while (record := self._queue.get()) is not None:
                    file.write(to_json(record) + "\n")
                    file.flush()
        except OSError as error:
            self.error = error
            _logger.warning("no run file is written: %s: %s; training goes on", self.path, error.strerror or error)


def new_run_file(dirpath: Path | None, root: Path) -> Path:
    """A path that does not exist yet: in the user's folder, or in a new one below `root`, named by the time of day."""
    if dirpath is not None:
        names = (f"run{suffix}.jsonl" for suffix in _suffixes())
        return next(path for name in names if not (path := dirpath / name).exists())
    now = datetime.now().strftime("%Y%m%d-%H%M%S")
    folders = (root / "flopwatch" / f"{now}{suffix}" for suffix in _suffixes())
    return next(folder for folder in folders if not folder.exists()) / FILE_NAME


def _suffixes() -> Iterator[str]:
    yield ""
    yield from (f"-{number}" for number in itertools.count(2))


def report_path(run_file: Path, ending: str) -> Path:
    """Where the report of a run file goes: `report.html` beside `run.jsonl`."""
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


@dataclass(frozen=True)
class Run:
    """A run as its processes wrote it, the first one first; `notes` say what of the files could not be read."""

    path: Path
    segments: tuple[Segment, ...]
    notes: tuple[str, ...] = ()


def find_run_file(path: Path) -> Path:
    """The run file that a path means: the file itself, or the newest one in or below a folder.

    Raises:
        RunFileError: If there is none.
    """
    try:
        if path.is_dir():
            found = sorted(path.rglob("run*.jsonl"), key=lambda each: each.stat().st_mtime)
            if not found:
                raise RunFileError(f"expected a flopwatch run file ({FILE_NAME}) in {path}, found none")
            return found[-1]
        if path.is_file():
            return path
    except OSError as error:
        raise RunFileError(f"cannot look at {str(path)[:200]}: {error.strerror}; check the path") from None
    raise RunFileError(f"expected a run file or its folder, found nothing at {path}")


def read_run(path: Path) -> Run:
    """Read a run, going back through the processes that it was resumed from as long as their files are there.

    A line cut short at the end, as a killed process leaves it, is dropped with a note.

    Raises:
        RunFileError: If the file does not exist, is no run file, or is of a newer schema.
    """
    path = find_run_file(path)
    segment, notes = _read_segment(path)
    segments, seen = [segment], {path.resolve()}
    while (earlier := segments[0].start.resumed_from) is not None:
        earlier_path = _earlier_file(path, earlier)
        if earlier_path is None or earlier_path.resolve() in seen:
            notes.append(f"the run file that this run was resumed from is gone: {earlier}; its totals are included")
            break
        seen.add(earlier_path.resolve())
        previous, earlier_notes = _read_segment(earlier_path)
        segments.insert(0, _up_to(previous, segments[0].start.step))
        notes += earlier_notes
    return Run(path, tuple(segments), tuple(notes))


def _earlier_file(path: Path, earlier: str) -> Path | None:
    name, folder = Path(earlier).name, Path(earlier).parent.name
    candidates = (Path(earlier), path.parent / name, path.parent.parent / folder / name)
    try:
        return next((each for each in candidates if each.is_file() and each.resolve() != path.resolve()), None)
    except OSError:
        return None


def _up_to(segment: Segment, step: int) -> Segment:
    kept = tuple(window for window in segment.windows if window.step <= step)
    return replace(segment, windows=kept)


def _read_segment(path: Path) -> tuple[Segment, list[str]]:
    start: Start | None = None
    work: Work | None = None
    end: End | None = None
    hardware: Hardware | None = None
    windows: list[Window] = []
    events: list[Event] = []
    dropped: list[str] = []
    for number, record in _records(path, dropped):
        if isinstance(record, Start):
            if start is not None:
                raise RunFileError(f"expected one run in {path}, found a second start in line {number}")
            start = record
        elif isinstance(record, Device):
            start = start and replace(start, device=record)
        elif isinstance(record, Hardware):
            hardware = record
        elif isinstance(record, Work):
            work = record
        elif isinstance(record, Window):
            windows.append(record)
        elif isinstance(record, Event):
            events.append(record)
        else:
            end = record
    if start is None:
        raise RunFileError(f"expected a flopwatch run file, found no start record in {path}")
    notes = [f"{len(dropped)} unreadable line(s) of {path.name} were left out, first {dropped[0]}"] if dropped else []
    return Segment(start, work, tuple(windows), tuple(events), end, hardware), notes


def _records(path: Path, dropped: list[str]) -> Iterator[tuple[int, Record]]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            number = 0
            while line := file.readline(_LONGEST_LINE):
                number += 1
                record = _record(line, path, number, dropped)
                if record is not None:
                    yield number, record
    except OSError as error:
        raise RunFileError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from None


def _record(line: str, path: Path, number: int, dropped: list[str]) -> Record | None:
    try:
        return from_json(line)
    except RunFileError as error:
        if number == 1:
            raise RunFileError(f"expected a flopwatch run file, line 1 of {path}: {error}") from None
        dropped.append(f"line {number}: {error}")
        return None
