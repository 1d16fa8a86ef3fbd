"""Where the first rank's numbers go: loggers, progress bar, run file, and the report at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flopwatch import files, units
from flopwatch.lightning.output import run_facts as facts
from flopwatch.lightning.output.sinks import LoggerSink, ProgressSink
from flopwatch.report.render import RENDERERS
from flopwatch.report.render.text import summary_lines
from flopwatch.report.report import summarize
from flopwatch.run import run_file as runfile
from flopwatch.run.budget import Projection
from flopwatch.run.records import Progress

_logger = logging.getLogger("flopwatch")


class Output:
    """The sinks of a run.

    Args:
        trainer: The Trainer.
        path: The run file to be made.
        progress: Gives the present progress, on another thread.
    """

    def __init__(self, trainer: Any, path: Path, progress: Callable[[], Progress | None]) -> None:
        self.loggers = LoggerSink(trainer.loggers)
        self.progress = ProgressSink(trainer.progress_bar_callback)
        self.file = runfile.RunFileWriter(path, progress)

    def finish(self, *, report: bool) -> None:
        """Close the run file, make the report from it and say where both are; a report can be made later, too."""
        path = self.file.path
        if not self.file.close():
            return
        try:
            self._conclude(path, report)
        except Exception as error:
            _logger.warning("no report was made (%s); `flopwatch report %s` makes it", str(error)[:200], path)

    def _conclude(self, path: Path, report: bool) -> None:
        result = summarize(runfile.read_run(path))
        self.loggers.log_summary(facts.summary(result))
        written, page = [path], None
        if report:
            page = runfile.report_path(path, "html")
            files.replace_text(page, RENDERERS["html"](result))
            written.append(page)
        self.loggers.attach(facts.tables(result), page, path)
        for line in (*summary_lines(result), *(f"written: {each}" for each in written)):
            _logger.info("%s", line)


def run_file_for(dirpath: Path | None, root: Any) -> Path:
    """Path of a new run file: in the user's folder, or below the Trainer's; if that is not local, where we are."""
    return runfile.new_run_file(dirpath, Path() if "://" in str(root) else Path(root))


def progress_words(mfu: float | None, projection: Projection | None) -> dict[str, str]:
    """What the progress bar shows."""
    words = {} if mfu is None else {"mfu": units.format_percent(mfu)}
    if projection is not None and projection.seconds_left is not None:
        words["left"] = units.format_duration(projection.seconds_left)
    return words
