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
        if not self._end:
            self._file.seek(0)  # over whatever is there, as the first line says what the file is
            _write(self._file, line)
        else:
            _append(self._file, line if _ends_a_line(self._file) else b"\n" + line)
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
            self._restore_head(self._file)
            return "was truncated; what was cut off is lost, new records are appended"
        return None

    def _restore_head(self, file: FileIO) -> None:
        """Put back what was cut off of the lines without which the file cannot be read."""
        file.seek(0)
        present = file.readall()
        if not self._begins(present):
            file.truncate(0)
            present = b""
        _append(file, _lacking(present, self._head()))
        self._end = file.tell()

    def _begins(self, text: bytes) -> bool:
        """Whether a text begins as the file does."""
        head = self._head()
        return text.startswith(head[: head.find(b"\n") + 1])

    def _written(self) -> bytes:
        """What was written to the file, as much of it as is there, and its head."""
        assert self._file is not None
        self._file.seek(0)
        text = self._file.readall()
        return text if not self._end or self._begins(text) else self._head() + text

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
            other.seek(0)
            _append(other, _lacking(other.readall(), self._written()))
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


def _lacking(present: bytes, whole: bytes) -> bytes:
    """What has to be appended so that all lines of the whole are there."""
    if whole.startswith(present):
        return whole[len(present) :]
    lines = set(present.splitlines())
    lacking = b"".join(each for each in whole.splitlines(keepends=True) if each.rstrip(b"\n") not in lines)
    return lacking if present.endswith(b"\n") else b"\n" + lacking


def _append(file: FileIO, line: bytes) -> None:
    file.seek(0, os.SEEK_END)
    _write(file, line)


def _write(file: FileIO, line: bytes) -> None:
    """Write a line where the file stands, or nothing."""
    begin = file.tell()
    try:
        written = 0
        while written < len(line):
            written += file.write(line[written:]) or 0
    except OSError:
        file.truncate(begin)
        raise
