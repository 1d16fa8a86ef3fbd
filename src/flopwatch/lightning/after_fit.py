"""What a callback knows when a fit is over: the report that was written, and its MFU."""

from __future__ import annotations

from flopwatch.report.report import Report


class AfterFit:
    """A mixin for the callback; `_report` is set when a session ends."""

    _report: Report | None = None

    @property
    def report(self) -> Report | None:
        """The report of the last fit, on the first rank; `None` before one has ended, or where none could be made."""
        return self._report

    @property
    def mfu(self) -> float | None:
        """MFU of the last fit in the training loop, 0 to 1; `None` where `report` is, or FLOPs or peak are unknown."""
        return None if self._report is None else self._report.mfu
