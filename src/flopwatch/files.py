"""Files from elsewhere and files next to them: read within bounds, written without following links."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from flopwatch.errors import ArgumentError


def read_text(path: Path, most_bytes: int) -> str:
    """Return the text of a regular file of limited size, without the byte-order mark that Windows editors add.

    Devices and pipes, which never end, are refused.

    Raises:
        OSError: If there is no such file, it is no plain file, too large, or cannot be read.
        UnicodeDecodeError: If it is no UTF-8.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "expected a regular file")
    with path.open("rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {most_bytes:,} bytes")
    return data.decode("utf-8-sig")


def here() -> Path:
    """Return the working directory.

    Raises:
        ArgumentError: If it was removed meanwhile.
    """
    try:
        return Path.cwd()
    except OSError:
        raise ArgumentError("the working directory was removed; change to an existing one") from None


def replace_text(path: Path, text: str) -> None:
    """Put a file in the place of another as a whole; a link there is replaced and what it leads to stays as it is.

    Raises:
        OSError: If it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with beside.open("x", encoding="utf-8", errors="replace") as file:
            file.write(text)
        beside.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
