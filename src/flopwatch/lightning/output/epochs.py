"""Epochs that a fit has done, by Lightning's own progress: its epochs need not be alike, nor known in advance."""

from __future__ import annotations

from typing import Any


class Epochs:
    """How many epochs are done, the present one by the share of its batches.

    A data loader without a length has that of the epoch before, which it has just taught; so has one that gives fewer
    batches than it says.

    Args:
        trainer: The Trainer, with its data loaders set up.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._length = self._said = _length_of(trainer)
        epochs = trainer.fit_loop.epoch_progress.current
        is_between = 0 < epochs.processed >= epochs.started
        # Batches of all epochs when the last one ended: none is running as long as no other batch is.
        self._ended_at = self._batches.total.ready if is_between else None
        self._saw_begin = self._ran_out = False
        self._taught: int | None = None

    @property
    def _batches(self) -> Any:
        return self._trainer.fit_loop.epoch_loop.batch_progress

    @property
    def length(self) -> int | None:
        """Batches of the present epoch; `None` where nothing tells."""
        return self._length

    def begin(self) -> None:
        """An epoch begins, with a data loader that may be another one."""
        said = _length_of(self._trainer)
        is_as_before = said is None or said == self._said
        self._length = (self._taught if is_as_before else None) or said or self._length
        self._said = said
        self._saw_begin = True

    def end(self) -> None:
        """An epoch has ended: because its data loader gave no more, or because training ends within it."""
        batches = self._batches.current
        self._ended_at = self._batches.total.ready
        self._ran_out = _has_run_out(self._trainer)
        if self._ran_out and self._saw_begin and batches.completed == batches.ready:
            self._taught = int(batches.ready)

    def done(self) -> float | None:
        """Epochs done; `None` in the middle of one whose length is not known, or turned out to be another."""
        batches, ran = self._batches, self._batches.current.processed
        is_over = batches.total.ready == self._ended_at
        # Lightning takes an epoch that training ended within as processed.
        before = float(self._trainer.fit_loop.epoch_progress.current.processed - is_over)
        ran_out = is_over and self._ran_out
        # How Lightning before 2.6 skips the rest of an epoch.
        skipped = ran > batches.current.started
        if batches.is_last_batch or ran == self._trainer.num_training_batches or ran_out or skipped:
            return before + 1
        if self._length is None or ran >= self._length:
            return None
        return before + float(ran / self._length)


def _length_of(trainer: Any) -> int | None:
    batches = trainer.num_training_batches
    return int(batches) if 0 < batches < float("inf") else None


def _has_run_out(trainer: Any) -> bool:
    """Whether the data loader gave no more, however many batches it has by its own word."""
    fetcher = getattr(trainer.fit_loop, "_data_fetcher", None)  # none of Lightning's public counters tells
    return bool(getattr(fetcher, "done", False))
