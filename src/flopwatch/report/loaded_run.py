"""`flopwatch.load`: a run as an object for scripts and notebooks."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flopwatch import units
from flopwatch.errors import ArgumentError
from flopwatch.report.report import Report, report_of
from flopwatch.report.sources import open_run
from flopwatch.report.tail import logged
from flopwatch.run.metric_table import METRICS
from flopwatch.run.run_file import Run, Segment

if TYPE_CHECKING:
    import pandas

_RENDERERS = ("text", "md", "json", "html")


@dataclass(frozen=True)
class LoadedRun:
    """A run as it was recorded.

    In a notebook it shows its headline; `report` has every number in base units, `to_pandas()` a row per window.

    Attributes:
        run: What the run's processes wrote: records, in base units.
    """

    run: Run

    @cached_property
    def report(self) -> Report:
        """The run's report: MFU, goodput, waterfall, findings; unknown numbers are `None`."""
        return report_of(self.run)

    @property
    def path(self) -> Path:
        """The file or W&B run that it was read from."""
        return self.run.path

    @property
    def mfu(self) -> float | None:
        """MFU in the training loop, 0 to 1, without the first window of each process."""
        return self.report.mfu

    def render(self, form: str = "text") -> str:
        """Return the report as `flopwatch report` prints it.

        Args:
            form: "text", "md", "json" or "html".

        Raises:
            ArgumentError: If there is no such form.
        """
        from flopwatch.report.render import RENDERERS

        if form not in RENDERERS:
            raise ArgumentError(f"expected one of {', '.join(_RENDERERS)}, got {units.quoted(form)}")
        return RENDERERS[form](self.report)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row per window: its step, time and process, and every metric that was known, by its logged key.

        The first window of a process, in which code is compiled and warmed up, and windows of profiled steps have
        `first` set.
        """
        return [row for number, segment in enumerate(self.run.segments) for row in _rows(segment, number)]

    def to_pandas(self) -> pandas.DataFrame:
        """Return the rows as a DataFrame with a column per metric; unknown values are missing.

        Raises:
            ImportError: If pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ImportError("to_pandas() needs pandas: run `pip install pandas`; rows() needs nothing") from None
        columns = ["step", "seconds", "process", "first", *METRICS]
        rows = self.rows()
        known = [each for each in columns if any(each in row for row in rows)] or columns[:4]
        return pandas.DataFrame(rows, columns=known)

    def __repr__(self) -> str:
        facts = ", ".join(f"{name} {value}" for name, value in headline(self.report))
        return units.printable(f"<run {self.report.name or self.report.run_id}: {facts}>")

    def _repr_html_(self) -> str:
        """The headline as a table, for notebooks."""
        title = html.escape(self.report.name or self.report.run_id)
        cells = (
            f'<tr><th style="text-align:left">{html.escape(name)}</th>'
            f'<td style="text-align:left">{html.escape(value)}</td></tr>'
            for name, value in headline(self.report)
        )
        return f"<table><caption>{title}</caption><tbody>{''.join(cells)}</tbody></table>"


def load(path: str | Path) -> LoadedRun:
    """Load a run.

    Args:
        path: A run file, a W&B run's folder or `.wandb` file, a folder (its newest run), or
            ENTITY/PROJECT/RUN_ID of W&B.

    Returns:
        The run, with those of its earlier processes that can be read.

    Raises:
        RunFileError: If there is no such file, or it holds nothing readable.
        WandbError: If W&B has no such run, nobody is logged in, or the server cannot be reached.

    Example::

        run = flopwatch.load("runs")
        run.report.mfu, run.to_pandas()["perf/mfu"].plot()
    """
    return LoadedRun(open_run(str(path)))


def headline(report: Report) -> list[tuple[str, str]]:
    """What one wants to know first of a run, in words; what is unknown is left out."""
    known = [
        ("status", report.status),
        ("steps", f"{report.step:,}"),
        ("MFU", _unless_none(report.mfu, units.format_percent)),
        ("run MFU", _unless_none(report.run_mfu, units.format_percent)),
        ("model FLOPs", _unless_none(report.totals.counts.flops, lambda flops: units.format_si(flops, "FLOPs"))),
        ("tokens", _unless_none(report.totals.counts.tokens, units.format_count)),
        ("loss", _unless_none(report.loss, units.format_loss)),
        ("validation loss", _unless_none(report.validation_loss, units.format_loss)),
        ("wall time", units.format_duration(report.wall_seconds)),
        ("device", _device_words(report)),
        ("cost", _unless_none(report.usd, units.format_usd)),
    ]
    return [(name, words) for name, words in known if words is not None]


def _device_words(report: Report) -> str:
    return f"{report.device.count:,} x {report.device.name}"


def _unless_none(value: Any, words: Any) -> str | None:
    return None if value is None else str(words(value))


def _rows(segment: Segment, process: int) -> Iterator[dict[str, Any]]:
    """A process's windows, as its logger got them."""
    start = segment.start
    for window in segment.windows:
        seconds = window.ended_at - start.started_at
        where = {"step": window.step, "seconds": seconds, "process": process, "first": window.first}
        yield {**where, **logged(start, start.device, window, seconds)}
