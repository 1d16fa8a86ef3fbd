"""Where numbers go while training runs: run file, loggers, progress bar, callback metrics. Nothing here can hurt it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from flopwatch import units
from flopwatch.errors import in_words
from flopwatch.lightning.patch import Patch
from flopwatch.run import clock, metrics
from flopwatch.run.moment import Moment
from flopwatch.run.records import Event
from flopwatch.run.run_file_writer import RunFileWriter
from flopwatch.wandb import live

_logger = logging.getLogger("flopwatch")
_MOST_FAILURES = 3
_SLOW_SECONDS = 1.0


class Sink(Protocol):
    """Where a run's numbers go; a new one is a class in this file and a line in `Output`."""

    def open(self, keys: Sequence[str]) -> None:
        """Training is about to start.

        Args:
            keys: Every key that `window` may bring.
        """

    def window(self, at: Moment, values: Mapping[str, float], axis: int) -> None:
        """A window has ended; the first one, which is warm-up, comes too.

        Args:
            at: Its end.
            values: What is logged of it, by key.
            axis: Its step on the axis of Lightning's own metrics.
        """

    def event(self, title: str, text: str) -> None:
        """Something happened that people should hear of."""

    def close(self) -> None:
        """Training is over."""


class RunFileSink:
    """Writes windows and events to the run file.

    Args:
        file: The run file's writer.
    """

    def __init__(self, file: RunFileWriter) -> None:
        self._file = file

    def open(self, keys: Sequence[str]) -> None:
        """Nothing: the file is opened with its start record."""

    def window(self, at: Moment, values: Mapping[str, float], axis: int) -> None:
        """Write the window's record."""
        self._file.write(at.window)

    def event(self, title: str, text: str) -> None:
        """Write it down with its date."""
        self._file.write(Event(clock.now(), text))

    def close(self) -> None:
        """Nothing: the end record comes after everything else."""


class CallbackMetricsSink:
    """Puts numbers where ModelCheckpoint, Optuna and Ray Tune look for them: `trainer.callback_metrics`.

    Of several processes each decides by its own `callback_metrics`, and only the first one knows the sums: there
    nothing is put, lest they decide differently.

    Args:
        trainer: The Trainer.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    def open(self, keys: Sequence[str]) -> None:
        """Nothing: a key comes with its first value."""

    def window(self, at: Moment, values: Mapping[str, float], axis: int) -> None:
        """Put the window's values there."""
        if self._trainer.world_size == 1 and not at.window.first:
            self._trainer.callback_metrics.update({key: torch.tensor(value) for key, value in values.items()})

    def event(self, title: str, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing: the last values stay."""


class LoggerSink:
    """Writes to every logger of a Trainer; warns once about a failing one, and drops it after three failures in a row.

    Args:
        loggers: `trainer.loggers`.
    """

    def __init__(self, loggers: list[Any]) -> None:
        self._loggers = list(loggers)
        self._failures = [0] * len(self._loggers)
        self._told = [False] * len(self._loggers)
        self._keys: tuple[str, ...] = ()
        self._has_loss_axis = False

    def open(self, keys: Sequence[str]) -> None:
        """Announce the keys to loggers that need it: W&B needs the axis of every key."""
        self._keys = tuple(keys)
        self._each_wandb("to be told its axis", lambda logger: live.set_axis(logger, self._keys))

    def window(self, at: Moment, values: Mapping[str, float], axis: int) -> None:
        """Log the window, unless it is warm-up."""
        if not at.window.first:
            self._chart_losses_over_tokens(values)
            self.log_metrics(values, axis)

    def _chart_losses_over_tokens(self, values: Mapping[str, float]) -> None:
        """Give the losses the axis by which runs compare, once it is known that there are tokens."""
        tokens = next((key for key in values if key.endswith(live.TOKENS)), None)
        if tokens is None or self._has_loss_axis:
            return
        self._has_loss_axis = True
        losses = [key for key in self._keys if key.endswith(live.LOSSES)]
        self._each_wandb("to be told its axis", lambda logger: live.set_axis(logger, losses, tokens))

    def event(self, title: str, text: str) -> None:
        """Send an alert."""
        self.alert(f"flopwatch: {title}", text)

    def close(self) -> None:
        """Nothing: loggers are the user's."""

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log a window at a step of Lightning's own axis."""
        self._each("for a window", lambda logger: logger.log_metrics(dict(values), step=step))

    def log_facts(self, facts: Mapping[str, Any]) -> None:
        """Put facts about the run into the loggers' hyperparameters (W&B's config)."""
        self._each("for facts", lambda logger: _log_hyperparameters(logger, {"flopwatch": dict(facts)}))

    def log_summary(self, values: Mapping[str, float | str | None]) -> None:
        """Put totals and means into W&B's summary; other loggers have none."""
        self._each_wandb("for the summary", lambda logger: live.write_summary(logger, values))

    def attach(self, tables: Mapping[str, live.Table], page: Path | None, run_file: Path | None) -> None:
        """Attach tables and files to a run that ends, where W&B is among the loggers."""
        self._each_wandb("to take the report", lambda logger: live.attach(logger, tables, page, run_file))

    def alert(self, title: str, text: str) -> None:
        """Send an alert, where W&B is among the loggers."""
        self._each_wandb("for an alert", lambda logger: live.alert(logger, title, text))

    def _each_wandb(self, what: str, write: Callable[[Any], None]) -> None:
        self._each(what, write, live.is_wandb)

    def _each(
        self, what: str, write: Callable[[Any], None], wanted: Callable[[Any], bool] = lambda logger: True
    ) -> None:
        for index, logger in enumerate(self._loggers):
            if self._failures[index] >= _MOST_FAILURES or not wanted(logger):
                continue
            began = time.monotonic()
            try:
                write(logger)
                self._failures[index] = 0
            except Exception as error:
                self._failures[index] += 1
                self._tell(index, f"failed ({in_words(error)}); training continues")
                if self._failures[index] == _MOST_FAILURES:
                    words = "%s failed %d times in a row; flopwatch stops logging to it"
                    _logger.warning(words, type(logger).__name__, _MOST_FAILURES)
            took = time.monotonic() - began
            if took > _SLOW_SECONDS:
                self._tell(index, f"took {took:.1f} s {what} while training waited; is its server slow?")

    def _tell(self, index: int, words: str) -> None:
        """Warn about a logger's first problem; log later ones for debugging."""
        level = logging.DEBUG if self._told[index] else logging.WARNING
        self._told[index] = True
        _logger.log(level, "%s %s", type(self._loggers[index]).__name__, words)


class ProgressSink:
    """Adds words to the progress bar by its public `get_metrics`, and takes them away again.

    Args:
        bar: `trainer.progress_bar_callback`, or `None` where there is none.
    """

    def __init__(self, bar: Any | None) -> None:
        self._words: dict[str, str] = {}
        self._patch = None if bar is None else Patch(bar, "get_metrics", self._with_our_words)

    def open(self, keys: Sequence[str]) -> None:
        """Nothing: the bar has its words from the first window on."""

    def window(self, at: Moment, values: Mapping[str, float], axis: int) -> None:
        """Show the window's MFU and the time left."""
        if not at.window.first:
            self.show(progress_words(at))

    def event(self, title: str, text: str) -> None:
        """Nothing: the log says it above the bar."""

    def close(self) -> None:
        """Give the bar its own method back."""
        self.remove()

    def show(self, words: Mapping[str, str]) -> None:
        """Show these words from the next refresh on."""
        self._words = dict(words)

    def remove(self) -> None:
        """Restore the bar's own method."""
        if self._patch is not None:
            self._patch.remove()

    def _with_our_words(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return the bar's words with flopwatch's; on a conflict the user's word stays."""
        return lambda *arguments, **named: {**self._words, **original(*arguments, **named)}


def _log_hyperparameters(logger: Any, params: dict[str, Any]) -> None:
    if any(base.__name__ == "TensorBoardLogger" for base in type(logger).__mro__):
        logger.hparams.update(params)  # its log_hyperparams would write over the user's hp_metric
    else:
        logger.log_hyperparams(params)


def progress_words(at: Moment) -> dict[str, str]:
    """What the progress bar shows of a window."""
    mfu = metrics.mfu(at.window, at.device)
    words = {} if mfu is None else {"mfu": units.format_percent(mfu)}
    if at.window.seconds_left is not None:
        words["time_left"] = units.format_duration(at.window.seconds_left).replace(" ", "")
    return words
