"""Epochs that a fit has done, by Lightning's own progress: its epochs need not be alike, nor known in advance."""

from __future__ import annotations

from typing import Any


class Epochs:
    """How many epochs are done, the present one by the share of its batches.

    A data loader without a length has that of the epoch before, which it has just taught.

    Args:
        trainer: The Trainer, with its data loaders set up.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._length = _length_of(trainer)
        epochs = trainer.fit_loop.epoch_progress.current
        self._entered = epochs.started > epochs.processed
        self._saw_begin = False

    @property
    def length(self) -> int | None:
        """Batches of the present epoch; `None` where nothing tells."""
        return self._length

    def begin(self) -> None:
        """An epoch begins, with a data loader that may be another one."""
        batches = self._trainer.fit_loop.epoch_loop.batch_progress
        length = _length_of(self._trainer)
        ran_out = batches.is_last_batch and batches.current.completed == batches.current.ready
        if length is None and self._saw_begin and ran_out:
            length = int(batches.current.ready)
        self._length = length or self._length
        self._entered = self._saw_begin = True

    def done(self) -> float | None:
        """Epochs done; `None` in the middle of one whose length is not known, or turned out to be another."""
        epochs = self._trainer.fit_loop.epoch_progress.current
        batches = self._trainer.fit_loop.epoch_loop.batch_progress
        ran = batches.current.processed
        at_its_end = batches.is_last_batch or ran == self._trainer.num_training_batches
        is_over = epochs.started <= epochs.processed
        if is_over and (at_its_end or not self._entered):
            return float(epochs.processed)
        before = float(epochs.processed - is_over)  # Lightning takes an epoch that training ended within as processed
        if at_its_end:
            return before + 1
        if self._length is None or ran >= self._length:
            return None
        return before + float(ran / self._length)


def _length_of(trainer: Any) -> int | None:
    batches = trainer.num_training_batches
    return int(batches) if 0 < batches < float("inf") else None
