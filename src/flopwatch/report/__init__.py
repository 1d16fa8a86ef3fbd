"""Reports of runs: reading a run, judging it, rendering it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flopwatch.report.report import Report, summarize

__all__ = ["Report", "summarize"]


def __getattr__(name: str) -> object:
    """Load the report only when it is asked for: a part of it needs no other."""
    if name in __all__:
        from flopwatch.report import report

        return getattr(report, name)
    raise AttributeError(f"module 'flopwatch.report' has no attribute {name!r}")
