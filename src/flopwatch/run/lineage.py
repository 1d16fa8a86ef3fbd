"""The processes of a run, from the run files beside: which of them did work in vain, and how far each of them came."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flopwatch.errors import RunFileError
from flopwatch.run.record_lines import Record, from_json
from flopwatch.run.records import Checkpoint, End, Progress, Start, Totals, Window
from flopwatch.run.run_file import FILE_NAME, LONGEST_LINE, earlier_file, progress_path, read_start, record_beside

_STILL_ALIVE_SECONDS = 5.0
_TAIL_BYTES = 2**16
_MOST_FILES = 5000
_A_DAY = 86400.0  # how far the clocks of a disk and of a process may be apart
_CHECKPOINT = b'{"kind":"checkpoint"'  # as `to_json` begins it


@dataclass(frozen=True)
class LastSign:
    """The last that is known of a process; `doubt` says why it may have done more, where it may."""

    progress: Progress
    ended: bool = False
    doubt: str | None = None


@dataclass(frozen=True)
class Member:
    """A process of a run: its file, what it began with, and the last that is known of it."""

    path: Path
    start: Start
    last: LastSign


@dataclass(frozen=True)
class Lineage:
    """What lies behind a process that goes on from a checkpoint.

    `before` is the process that saved it, `None` where its file is gone or cannot be read, and `is_running` says
    whether it goes on beside. `lost` are the run's processes that are neither kept nor counted as lost so far.
    `doubts` say why there may be more of them.
    """

    before: Member | None
    is_running: bool = False
    lost: tuple[Member, ...] = ()
    doubts: tuple[str, ...] = ()


def last_sign(path: Path) -> LastSign | None:
    """The last that is known of the process that wrote a run file; `None` if its file cannot be read."""
    beside = record_beside(path)
    try:
        record = beside if isinstance(beside, End) else _last_record(path)
    except (OSError, RunFileError):
        return None
    progress = beside if isinstance(beside, Progress) else None
    if isinstance(record, End):
        stopped = record.status == "measuring stopped"
        doubt = f"flopwatch failed in the process of {path}, which may have continued" if stopped else None
        return LastSign(Progress(record.time, record.step, record.totals), ended=True, doubt=doubt)
    doubt = None
    if isinstance(record, Window) and progress is None:
        doubt = f"{progress_path(path)} is missing, which records what its process did after its last window"
    signs = [_progress_of(record), progress]
    newest = max((each for each in signs if each is not None), key=_how_far, default=None)
    return None if newest is None else LastSign(newest, doubt=doubt)


def _how_far(progress: Progress) -> tuple[int, float]:
    return progress.totals.counts.batches, progress.time


def totals_at_checkpoint(path: Path, step: int) -> Totals | None:
    """The totals that a run file holds of the checkpoint at a step; the last ones, if there are several."""
    found = None
    try:
        with path.open("rb") as file:
            for line in iter(lambda: file.readline(LONGEST_LINE), b""):
                record = from_json(line) if line.startswith(_CHECKPOINT) else None
                if isinstance(record, Checkpoint) and record.step == step:
                    found = record.totals
    except (OSError, RunFileError):
        return None
    return found


def trace_back(named: str, started_at: float, own: Path) -> Lineage:
    """Find the processes whose work was done in vain, in the files beside that of the process which asks.

    All processes of a run know when it first began, to the last digit; one that began from nothing is another run. A
    process that still runs is another branch, and lost to none.

    Args:
        named: The run file that the checkpoint names.
        started_at: When the run first started, as the checkpoint has it.
        own: The run file of the process that asks.
    """
    starts = _Starts()
    path = earlier_file(own, named)
    before = None if path is None else _member(path, starts)
    if before is None:
        gone = f"the run file {named} of the previous process is missing or unreadable"
        return Lineage(None, doubts=(f"{gone}, so its work after the checkpoint is unknown",))
    counted = _Counted(before, named, starts)
    lost, unread = _uncounted(counted, _beside(own, started_at), started_at, starts)
    missing = [words for each in lost if (words := counted.missing_before(each)) is not None]
    return Lineage(before, _is_running_here(before), tuple(sorted(lost, key=_began_at)), (*unread, *missing))


def _uncounted(
    counted: _Counted, files: Iterator[Path], started_at: float, starts: _Starts
) -> tuple[list[Member], list[str]]:
    """The ended processes of the run that nobody has counted, and what could not be read."""
    lost: list[Member] = []
    doubts: list[str] = []
    for path in itertools.islice(files, _MOST_FILES):
        start = None if counted.has_file(path) else starts.of(path)
        if start is not None and (start.started_at != started_at or counted.has(start)):
            continue
        member = None if start is None else _member(path, starts)
        if member is not None and not _is_running(member):
            counted.add(path, member.start)
            lost.append(member)
        elif member is None and not counted.has_file(path):
            doubts.append(f"cannot read {path} in the same folder")
    if next(files, None) is not None:
        doubts.append(f"more than {_MOST_FILES:,} run files are in the same folder")
    return lost, doubts


def _member(path: Path, starts: _Starts) -> Member | None:
    start = starts.of(path)
    last = None if start is None else last_sign(path)
    return None if start is None or last is None else Member(path, start, last)


def _began_at(member: Member) -> float:
    return member.start.time


class _Starts:
    """Start records, each read once."""

    def __init__(self) -> None:
        self._read: dict[Path, Start | None] = {}

    def of(self, path: Path) -> Start | None:
        """That of a file; `None` where it cannot be read."""
        path = path.resolve()
        if path not in self._read:
            self._read[path] = None
            with contextlib.suppress(RunFileError, OSError):
                self._read[path] = read_start(path)
        return self._read[path]


class _Counted:
    """The processes that a checkpoint's totals, and what is counted beside them, hold already.

    These are the process that saved it, those that it goes back to, and what each of them counted as lost.

    Args:
        before: The process that saved the checkpoint.
        named: How the checkpoint names its file.
        starts: Reads start records.
    """

    def __init__(self, before: Member, named: str, starts: _Starts) -> None:
        self._names = {named}
        self._files: set[Path] = set()
        self._processes: set[tuple[object, ...]] = set()
        self._since = 0.0  # what began earlier was counted by a process whose file is gone
        path, start = before.path, before.start
        while not self.has_file(path):
            self.add(path, start)
            for each in start.lost_files:
                self._add_named(path, each, starts)
            if start.resumed_from is None:
                return
            self._names.add(start.resumed_from)
            earlier = earlier_file(path, start.resumed_from)
            began = None if earlier is None else starts.of(earlier)
            if earlier is None or began is None:
                self._since = start.time
                return
            path, start = earlier, began

    def add(self, path: Path, start: Start) -> None:
        """Count a process."""
        self._files.add(path.resolve())
        self._processes.add(_identity(start))

    def _add_named(self, beside: Path, named: str, starts: _Starts) -> None:
        self._names.add(named)
        path = earlier_file(beside, named)
        start = None if path is None else starts.of(path)
        if path is not None and start is not None:
            self.add(path, start)

    def has_file(self, path: Path) -> bool:
        """Whether this file's process is counted."""
        return path.resolve() in self._files

    def has(self, start: Start) -> bool:
        """Whether a process is counted, be it from a copy of its file."""
        return start.time < self._since or _identity(start) in self._processes

    def missing_before(self, member: Member) -> str | None:
        """Says so where the process that one went on from is not counted, since its file is gone."""
        named = member.start.resumed_from
        if named is None or named in self._names:
            return None
        earlier = earlier_file(member.path, named)
        if earlier is not None and self.has_file(earlier):
            return None
        return f"the run file {named} of a process in between is missing or unreadable"


def _identity(start: Start) -> tuple[object, ...]:
    return start.time, start.host, start.pid, start.run_id


def _beside(own: Path, started_at: float) -> Iterator[Path]:
    """Run files in the same folder and, where each has a folder of its own, in those beside, the newest names first."""
    folders = [own.parent, own.parent.parent] if own.name == FILE_NAME else [own.parent]
    seen = {own.resolve()}
    for folder, pattern in itertools.product(folders, ("run*.jsonl", f"*/{FILE_NAME}")):
        for path in sorted(folder.glob(pattern), reverse=True):
            if _was_written_since(path, started_at) and path.resolve() not in seen:
                seen.add(path.resolve())
                yield path


def _was_written_since(path: Path, started_at: float) -> bool:
    """Whether a file with something in it was written since a run began, or a little earlier."""
    try:
        status = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size > 0 and status.st_mtime > started_at - _A_DAY


def _is_running(member: Member) -> bool:
    """Whether the process still writes its progress, and if it is one of this machine whether it exists."""
    beside = progress_path(member.path)
    # The disk's dates are by the wall clock as it is set now, so they are held against it, and not against `clock`.
    if not beside.is_file() or abs(time.time() - beside.stat().st_mtime) > _STILL_ALIVE_SECONDS:
        return False
    return member.start.host != socket.gethostname() or _exists(member.start.pid)


def _is_running_here(member: Member) -> bool:
    """The same for the process whose checkpoint is gone on from: on another machine, it was rather killed just now."""
    return member.start.host == socket.gethostname() and _is_running(member)


def _exists(pid: int | None) -> bool:
    if pid is None:
        return True
    if pid == os.getpid():
        return False  # an earlier fit of this very process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _last_record(path: Path) -> Start | Window | End | None:
    """The last complete window or end; the start where there is neither."""
    return next((each for each in _tail(path) if isinstance(each, (Start, Window, End))), None)


def _progress_of(record: Start | Window | None) -> Progress | None:
    if record is None:
        return None
    at = record.ended_at if isinstance(record, Window) else record.time
    return Progress(at, record.step, record.totals)


def _tail(path: Path) -> Iterator[Record]:
    """Records of a file's last part, the newest first."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _TAIL_BYTES, 0))
        lines = file.read().splitlines()
    for line in reversed(lines):
        with contextlib.suppress(RunFileError):
            record = from_json(line)
            if record is not None:
                yield record
