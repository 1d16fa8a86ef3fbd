"""Where numbers go while training runs: the Trainer's loggers and its progress bar. Nothing here can hurt the run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from flopwatch import wandb
from flopwatch.lightning.patch import Patch

_logger = logging.getLogger("flopwatch")
_MOST_FAILURES = 3


class LoggerSink:
    """Writes to every logger of a Trainer; a logger that fails three times in a row is left alone.

    Args:
        loggers: `trainer.loggers`.
    """

    def __init__(self, loggers: list[Any]) -> None:
        self._loggers = list(loggers)
        self._failures = [0] * len(self._loggers)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log a window at a step of Lightning's own axis."""
        self._each(lambda logger: logger.log_metrics(dict(metrics), step=step))

    def log_facts(self, facts: Mapping[str, Any]) -> None:
        """Put facts about the run into the loggers' hyperparameters (W&B's config)."""
        self._each(lambda logger: _log_hyperparameters(logger, {"flopwatch": dict(facts)}))

    def log_summary(self, values: Mapping[str, float | str | None]) -> None:
        """Put totals and means into W&B's summary; other loggers have none."""
        self._each(lambda logger: wandb.write_summary(logger, values) if wandb.is_wandb(logger) else None)

    def alert(self, title: str, text: str) -> None:
        """Send an alert, where W&B is among the loggers."""
        self._each(lambda logger: wandb.alert(logger, title, text) if wandb.is_wandb(logger) else None)

    def _each(self, write: Callable[[Any], None]) -> None:
        for index, logger in enumerate(self._loggers):
            if self._failures[index] >= _MOST_FAILURES:
                continue
            try:
                write(logger)
                self._failures[index] = 0
            except Exception as error:
                self._failures[index] += 1
                if self._failures[index] in (1, _MOST_FAILURES):
                    after = "it is left alone from here on" if self._failures[index] > 1 else "training goes on"
                    _logger.warning("%s failed: %s; %s", type(logger).__name__, str(error)[:200], after)


class ProgressSink:
    """Adds words to the progress bar by its public `get_metrics`, and takes them away again.

    Args:
        bar: `trainer.progress_bar_callback`, or `None` where there is none.
    """

    def __init__(self, bar: Any | None) -> None:
        self._words: dict[str, str] = {}
        self._patch = None if bar is None else Patch(bar, "get_metrics", self._with_our_words)

    def show(self, words: Mapping[str, str]) -> None:
        """Show these words from the next refresh on."""
        self._words = dict(words)

    def remove(self) -> None:
        """Give the bar its own method back."""
        if self._patch is not None:
            self._patch.remove()

    def _with_our_words(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """The bar's words with ours; where both have a word, the user's own stays."""
        return lambda *arguments, **named: {**self._words, **original(*arguments, **named)}


def _log_hyperparameters(logger: Any, params: dict[str, Any]) -> None:
    if any(base.__name__ == "TensorBoardLogger" for base in type(logger).__mro__):
        logger.hparams.update(params)  # its log_hyperparams would write over the user's hp_metric
    else:
        logger.log_hyperparams(params)
