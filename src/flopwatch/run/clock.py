"""Dates that no setting of the machine's clock moves: the wall clock is read once a process, time since is added."""

from __future__ import annotations

import time

# Where there is one, a clock that goes on while the machine sleeps.
_STEADY = getattr(time, "CLOCK_BOOTTIME", None) or getattr(time, "CLOCK_MONOTONIC", None)


def steady_seconds() -> float:
    """Seconds on a clock that nobody sets, the machine's sleep included where the system tells."""
    return time.monotonic() if _STEADY is None else time.clock_gettime(_STEADY)


_STARTED_AT = time.time() - steady_seconds()


def now() -> float:
    """The date (unix seconds), by the wall clock as it was when flopwatch was loaded."""
    return _STARTED_AT + steady_seconds()
