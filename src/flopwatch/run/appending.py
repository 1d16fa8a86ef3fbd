"""A file that lines are appended to, and that is whole again where somebody removed, replaced or cut it meanwhile."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from io import FileIO
from pathlib import Path


class AppendedFile:
    """Appends whole lines or nothing.

    The file that was opened is held until it is closed, so what was written can be read from it even where nothing has
    its name any more.

    Args:
        path: The file, made anew with its folders; another name is taken where something else has this one.
        another: Gives a free name beside a path.
        head: Gives the lines without which the file cannot be read.
    """

    def __init__(self, path: Path, another: Callable[[Path], Path], head: Callable[[], bytes]) -> None:
        self.path = path
        self._another, self._head = another, head
        self._file: FileIO | None = None
        self._end = 0

    @property
    def is_open(self) -> bool:
        """Return whether the file was created."""
        return self._file is not None

    def open(self) -> None:
        """Create the file.

        Raises:
            OSError: If it cannot be made.
        """
        self._file = self._make()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def append(self, line: bytes) -> None:
        """Write a line.

        Raises:
            OSError: If it cannot be written; nothing of it is in the file then.
        """
        assert self._file is not None
        if self._file.seek(0, os.SEEK_END) > self._end and not _ends_a_line(self._file):
            line = b"\n" + line
        _append(self._file, line)
        self._end = self._file.tell()

    def mend(self) -> str | None:
        """See to it that the path leads to what was written; says what was wrong, if anything.

        Raises:
            OSError: If the path does not lead to it, and nothing can be done about it.
        """
        assert self._file is not None
        there, ours = _status(self.path), os.fstat(self._file.fileno())
        if there is None:
            self._go_on_in(self._make())
            return "was removed; recreated with all its records"
        if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            return self._go_on_elsewhere(there)
        if ours.st_size < self._end:
            _append(self._file, self._head())
            self._end = self._file.tell()
            return "was truncated; what was cut off is lost, new records are appended"
        return None

    def _go_on_elsewhere(self, there: os.stat_result) -> str:
        """Handle another file under the name: continue a copy of the run file, and leave any other file untouched."""
        if stat.S_ISREG(there.st_mode):
            other = self.path.open("r+b", buffering=0)
            if self._is_copy(other):
                self._go_on_in(other)
                return "was replaced by a copy; new records go there"
            other.close()
        self.path = self._another(self.path)
        self._go_on_in(self._make())
        return f"was replaced by something else; all records are in {self.path}"

    def _is_copy(self, other: FileIO) -> bool:
        assert self._file is not None
        self._file.seek(0)
        return other.readline() == self._file.readline() != b""

    def _go_on_in(self, other: FileIO) -> None:
        """Put into another file what it lacks of this one, and write there from now on."""
        assert self._file is not None
        try:
            self._file.seek(0)
            other.seek(0)
            whole, present = self._file.readall(), other.readall()
            self._end = len(present)
            missing = whole[len(present) :] if whole.startswith(present) else b""
            _append(other, missing)
        except OSError:
            other.close()
            raise
        self._file.close()
        self._file, self._end = other, other.seek(0, os.SEEK_END)

    def _make(self) -> FileIO:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError:  # a file, or a link to nothing
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self.path.parent)) from None
        try:
            return self.path.open("x+b", buffering=0)
        except FileExistsError:
            self.path = self._another(self.path)
            return self.path.open("x+b", buffering=0)


def is_at(path: Path, opened: int) -> bool:
    """Whether a path leads to an opened file, and not to another one or to nothing.

    Raises:
        OSError: If that cannot be told.
    """
    there, ours = _status(path), os.fstat(opened)
    return there is not None and (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _status(path: Path) -> os.stat_result | None:
    """Of what has the name, be it a link; `None` where nothing has."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _ends_a_line(file: FileIO) -> bool:
    end = file.seek(0, os.SEEK_END)
    file.seek(end - 1)
    return file.read(1) == b"\n"


def _append(file: FileIO, line: bytes) -> None:
    end = file.seek(0, os.SEEK_END)
    try:
        written = 0
        while written < len(line):
            written += file.write(line[written:]) or 0
    except OSError:
        file.truncate(end)
        raise
