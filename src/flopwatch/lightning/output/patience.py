"""Calls that may never come back, as where a disk hangs, and are given up after a while."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def within(seconds: float, function: Callable[..., _T], *arguments: object) -> _T:
    """Return what a function does, which works on another thread meanwhile.

    Args:
        seconds: How long to wait for it.
        function: Does it; where no thread can be started, right here.
        arguments: For the function.

    Raises:
        TimeoutError: If it has not come back.
        Exception: What it raises.
    """
    results: list[_T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(function(*arguments))
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="flopwatch-output", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        run()
    else:
        thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(errno.ETIMEDOUT, "the disk does not respond")
    return results[0]
