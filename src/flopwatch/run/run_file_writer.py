"""Writes the run file on a side thread, so that no disk can hold up training."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from flopwatch.errors import in_words
from flopwatch.run.appending import AppendedFile, is_at
from flopwatch.run.record_lines import Record, to_json
from flopwatch.run.records import End, Event, Progress
from flopwatch.run.run_file import Gathered, Run, new_run_file, progress_path

_PROGRESS_SECONDS = 0.25
_CLOSE_SECONDS = 10.0
_RETRY_SECONDS = 5.0
_MOST_WAITING = 10_000
_LAST_TRIES, _LAST_PAUSE_SECONDS = 3, 0.1
_MOST_WINDOWS_KEPT = 1024
_logger = logging.getLogger("flopwatch")
_NOTHING = Event(0.0, "nothing was queued")


def _no_progress() -> Progress | None:
    return None


class RunFileWriter:
    """Appends records to a file from a daemon thread; whatever goes wrong there is logged once and survived.

    Where the disk is full, or gone for a while, records wait in memory until it takes them; where no thread can be
    started, until the end. As long as the file is open, a second one beside it holds how far the run has come, so that
    a killed process leaves behind what it had done after its last window.

    Args:
        path: The file, made anew with its folders; another name is taken where something has this one already.
        progress: Gives the present progress; called on the writing thread, a few times a second.
    """

    def __init__(self, path: Path, progress: Callable[[], Progress | None] = _no_progress) -> None:
        self._gathered = Gathered(_MOST_WINDOWS_KEPT)
        self._file = AppendedFile(path, lambda taken: new_run_file(taken.parent, taken.parent), self._head)
        self._progress = _ProgressFile(progress)
        self._error: str | None = None
        self._told_of: set[str] = set()
        self._queue: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
        self._waiting: deque[Record] = deque()
        self._given = self._written = 0
        self._thread = self._started()
        if self._thread is None:
            _logger.warning("cannot start a thread for the run file; it is written at the end")

    @property
    def path(self) -> Path:
        """Return the path of the run file."""
        return self._file.path

    def write(self, record: Record) -> None:
        """Queue a record; returns at once."""
        self._given += 1
        self._gathered.add(record)
        if self._thread is None:
            self._keep(record)
        else:
            self._queue.put(record)

    def close(self) -> bool:
        """Write what is queued and close the file; tells whether everything is on disk."""
        self._queue.put(None)
        self._thread = self._thread or self._started()
        if self._thread is None:
            self._write_all()
        else:
            self._thread.join(_CLOSE_SECONDS)
        return self.shortfall() is None

    @property
    def hangs(self) -> bool:
        """Return whether the disk had not responded by the end."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def never_opened(self) -> bool:
        """Return whether there is no file at all, which a message has reported."""
        return not self._file.is_open and not self.hangs

    def shortfall(self) -> str | None:
        """Return what is missing from the closed file, or `None`."""
        missing = self._given - self._written
        if not missing and not self.hangs:
            return None
        if not self.hangs and not self.path.exists():
            missing = self._given
        why = "the disk does not respond" if self.hangs else self._error or "they could not be written"
        return f"{missing} of {self._given} records of the run are not in {self.path}: {why}"

    def run(self) -> Run | None:
        """The run as this process knows it by itself, its windows merged where they are many."""
        segment, shortfall = self._gathered.segment(), self.shortfall()
        return None if segment is None else Run(self.path, (segment,), () if shortfall is None else (shortfall,))

    def _started(self) -> threading.Thread | None:
        thread = threading.Thread(target=self._write_all, name="flopwatch-runfile", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return None
        return thread

    def _head(self) -> bytes:
        return "".join(f"{to_json(record)}\n" for record in self._gathered.head()).encode()

    def _write_all(self) -> None:
        record: Record | None = _NOTHING
        retry_at, due = 0.0, time.monotonic() + _PROGRESS_SECONDS
        self._survive(self._open)
        while record is not None:
            record = self._next(max(due - time.monotonic(), 0.0))
            if record is not None and record is not _NOTHING:
                self._keep(record)
            if self._waiting and (record is None or time.monotonic() >= retry_at):
                self._survive(self._write_waiting)
                retry_at = time.monotonic() + (_RETRY_SECONDS if self._error else 0.0)
            if time.monotonic() >= due:
                self._progress.write(self._file.path if self._file.is_open else None)
                due = time.monotonic() + _PROGRESS_SECONDS
        self._write_the_rest()
        self._progress.close(next((each for each in self._waiting if isinstance(each, End)), None))
        with contextlib.suppress(OSError):
            self._file.close()

    def _write_the_rest(self) -> None:
        """Try again at the end, as long as something comes of it: what is not written now never will be."""
        tries = 0
        while self._waiting and tries < _LAST_TRIES:
            before = self._written
            time.sleep(_LAST_PAUSE_SECONDS)
            self._survive(self._write_waiting)
            tries = tries + 1 if self._written == before else 0

    def _next(self, patience_seconds: float) -> Record | None:
        try:
            return self._queue.get(timeout=patience_seconds)
        except queue.Empty:
            return _NOTHING

    def _keep(self, record: Record) -> None:
        self._waiting.append(record)
        if len(self._waiting) > _MOST_WAITING:
            del self._waiting[1]  # the first may be the start, without which no file can be read

    def _survive(self, write: Callable[[], None]) -> None:
        """Try to write; any error is reported once and retried."""
        try:
            write()
        except Exception as error:
            self._error = _reason(error)
            words = "cannot write the run file: %s: %s; retrying, training continues"
            if not self._file.is_open:
                words = "no run file: %s: %s; training continues"
            if words not in self._told_of:
                self._told_of.add(words)
                _logger.warning(words, self.path, self._error)
        else:
            if self._error is not None:
                self._error = None
                self._told_of.clear()
                _logger.info("writing the run file again: %s", self.path)

    def _open(self) -> None:
        if not self._file.is_open:
            self._file.open()
            self._progress.write(self._file.path)
            _logger.info("writing %s", self.path)

    def _write_waiting(self) -> None:
        self._open()
        before = self.path
        mended = self._file.mend()
        if mended is not None:
            self._progress.forget()
            _logger.warning("the run file %s %s", before, mended)
        while self._waiting:
            line = self._line(self._waiting[0])
            if line is not None:
                self._file.append(line)
                self._written += 1
            self._waiting.popleft()

    def _line(self, record: Record) -> bytes | None:
        """A record's line; one that cannot be put into words is left out, so that it holds up no other."""
        try:
            return f"{to_json(record)}\n".encode()
        except Exception as error:
            _logger.warning("skipped a record of kind %s: %s", type(record).__name__, _reason(error))
            return None


class _ProgressFile:
    """The small file next to a run file that is overwritten; the run continues without it if it cannot be written.

    Args:
        progress: Gives the present progress.
    """

    def __init__(self, progress: Callable[[], Progress | None]) -> None:
        self._progress = progress
        self._path: Path | None = None
        self._file: TextIO | None = None
        self._told = False

    def write(self, run_file: Path | None) -> None:
        """Write the current progress next to the run file; `None` while there is none."""
        if run_file is None:
            return
        try:
            progress = self._progress()
            if progress is not None:
                self._write_over(self._opened(progress_path(run_file)), progress)
        except Exception as error:
            self.remove()  # one that is not true any more would be worse than none
            if not self._told:
                self._told = True
                words = (
                    "cannot save progress next to the run file (%s); if the process is killed, work since its last"
                    " window is lost"
                )
                _logger.warning(words, _reason(error))

    def close(self, unwritten: End | None) -> None:
        """Take the file away, unless it has to hold the end that the run file has no room for."""
        if unwritten is None or self._file is None:
            self.remove()
            return
        with contextlib.suppress(OSError):
            self._write_over(self._file, unwritten)
        self.forget()

    def forget(self) -> None:
        """Recreate the file before the next progress."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        self._file = None

    def remove(self) -> None:
        """Remove the file: the run file's end says more."""
        if self._file is not None and self._path is not None:
            self.forget()
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _opened(self, path: Path) -> TextIO:
        """The file, made anew where something else has its name, or nothing has."""
        if self._file is not None and not is_at(path, self._file.fileno()):
            self.forget()
        if self._file is None:
            path.unlink(missing_ok=True)  # it may be a link to something else
            self._path, self._file = path, path.open("x", encoding="utf-8")
        return self._file

    def _write_over(self, file: TextIO, record: Progress | End) -> None:
        file.seek(0)
        file.write(to_json(record) + "\n")
        file.truncate()
        file.flush()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return in_words(error)
