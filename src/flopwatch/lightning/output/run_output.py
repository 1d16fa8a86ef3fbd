"""Where the first rank's numbers go: loggers, progress bar, run file, and the report at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flopwatch import files
from flopwatch.errors import in_words
from flopwatch.lightning.apart import Apart
from flopwatch.lightning.output import run_facts as facts
from flopwatch.lightning.output.patience import within
from flopwatch.lightning.output.sinks import CallbackMetricsSink, LoggerSink, ProgressSink, RunFileSink, Sink
from flopwatch.report.render import RENDERERS
from flopwatch.report.render.facts import work_words
from flopwatch.report.render.text import component_table, summary_lines
from flopwatch.report.report import Report, report_of, summarize
from flopwatch.report.verdict import WITHHELD
from flopwatch.run import clock
from flopwatch.run import run_file as runfile
from flopwatch.run.budget import Budget
from flopwatch.run.moment import Moment
from flopwatch.run.records import Device, End, Event, Progress, Work
from flopwatch.run.run_file_writer import RunFileWriter

_logger = logging.getLogger("flopwatch")
_MOST_COMPONENTS = 16
_LOGGING = "logging a window"
_READ_SECONDS, _WRITE_SECONDS = 30.0, 10.0


class Output:
    """The sinks of a run.

    Args:
        trainer: The Trainer.
        path: The run file to be made.
        progress: Gives the present progress, on another thread.
    """

    def __init__(self, trainer: Any, path: Path, progress: Callable[[], Progress | None]) -> None:
        self.loggers = LoggerSink(trainer.loggers)
        self.file = RunFileWriter(path, progress)
        bar = ProgressSink(trainer.progress_bar_callback)
        self._sinks: tuple[Sink, ...] = (RunFileSink(self.file), self.loggers, bar, CallbackMetricsSink(trainer))
        self._apart = Apart()
        self._hangs = False
        self.report: Report | None = None

    def open(self, keys: Sequence[str]) -> None:
        """Tell every sink what will be logged."""
        for sink in self._sinks:
            self._apart.run(_LOGGING, sink.open, keys)

    def window(self, at: Moment, values: Mapping[str, float], axis: int) -> None:
        """Give a window to every sink; one that fails takes nothing from the others."""
        for sink in self._sinks:
            self._apart.run(_LOGGING, sink.window, at, values, axis)

    def event(self, title: str, text: str) -> None:
        """Tell every sink what happened."""
        for sink in self._sinks:
            self._apart.run(_LOGGING, sink.event, title, text)

    def close_sinks(self) -> None:
        """Tell every sink that training is over."""
        for sink in self._sinks:
            self._apart.run(_LOGGING, sink.close)

    def run_file(self) -> str:
        """Return the run file's path, for the process that resumes the run; the disk, which may hang, is not asked."""
        return str(self.file.path)

    def describe_work(self, work: Work, device: Device, budgets: tuple[Budget, ...], driver: str | None) -> None:
        """Tell file, log and loggers how batches are counted.

        Args:
            work: The first batch.
            device: What it is held against.
            budgets: The run's.
            driver: The driver's version.
        """
        self.file.write(work)
        if work.verification in WITHHELD:
            _logger.warning("no FLOPs and no MFU: %s", work.note)
        else:
            _logger.info("%s, %s: %s", work_words(work), work.verification, work.note)
            _logger.info("FLOPs of a step by component\n%s", component_table(work, _MOST_COMPONENTS))
        self.loggers.log_facts(facts.hyperparameters(work, device, budgets, driver))

    def finish(self, *, report: bool) -> None:
        """Close the run file, make the report and say where both are; a report can be made later, too.

        What is not on the disk is told from memory, and said to be missing there.
        """
        self.file.close()
        try:
            self._conclude(report)
        except Exception as error:
            words = "no report was written (%s); `flopwatch report %s` writes it"
            _logger.warning(words, in_words(error), self.file.path)

    def abandon(self, last: Progress | None) -> None:
        """Close the run file after an error of our own, with what was counted up to it."""
        self.file.write(Event(clock.now(), "flopwatch failed here and measured nothing after this point"))
        if last is not None:
            self.file.write(End("measuring stopped", last.time, last.step, last.totals, {}))
        self.file.close()

    def _conclude(self, report: bool) -> None:
        path, shortfall = self.file.path, self.file.shortfall()
        if shortfall is not None and not self.file.never_opened:
            _logger.warning("%s", shortfall)
        result = self.report = self._read_report() if shortfall is None else self._known_report()
        if result is None:
            return
        self.loggers.log_summary(facts.summary(result))
        page = self._page(result) if report else None
        whole = path if shortfall is None and not self._hangs else None
        self.loggers.attach(facts.tables(result), page, whole)
        for line in summary_lines(result):
            _logger.info("%s", line)
        for each in (whole, page):
            if each is not None:
                _logger.info("written: %s", each)

    def _read_report(self) -> Report | None:
        """The report of the files on disk, of earlier processes, too; of this one where the disk hangs."""
        path = self.file.path
        try:
            return within(_READ_SECONDS, lambda: report_of(runfile.read_run(path)))
        except TimeoutError as error:
            self._hangs = True
            _logger.warning("cannot read %s: %s; what follows is of this process alone", path, error.strerror)
            return self._known_report()

    def _known_report(self) -> Report | None:
        """The report of what this process knows by itself."""
        run = self.file.run()
        if run is None:
            return None
        return summarize(run) if self.file.hangs or self._hangs else report_of(run)

    def _page(self, result: Report) -> Path | None:
        """Write the report's page; on a disk that does not answer nobody waits for it."""
        path = runfile.report_path(self.file.path, "html")
        if self.file.hangs or self._hangs:
            _logger.warning("no report was written: %s: the disk does not respond", path)
            return None
        page = RENDERERS["html"](result)
        try:
            within(_WRITE_SECONDS, files.replace_text, path, page)
        except OSError as error:
            again = "" if self.file.shortfall() else f"; `flopwatch report {self.file.path} -o FILE` writes it"
            _logger.warning("no report was written: %s: %s%s", path, error.strerror or error, again)
            return None
        return path


def run_file_for(dirpath: Path | None, root: Any) -> Path:
    """Path of a new run file: in the user's folder, or below the Trainer's; if that is not local, where we are.

    It is a whole path, which leads to the same file wherever the process goes.
    """
    path = runfile.new_run_file(dirpath, Path() if "://" in str(root) else Path(root))
    try:
        return path.absolute()
    except OSError:  # the working directory is gone
        return path
