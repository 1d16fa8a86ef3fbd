"""Totals of checkpoints that were saved before the other ranks had published their work."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flopwatch.lightning.ranks.reading import PendingSum
from flopwatch.run.meter import Mark


@dataclass(frozen=True)
class SavedAt:
    """A checkpoint: the step, and what was known there."""

    step: int
    own: Mark
    seconds: float
    seconds_by_kind: Mapping[str, float]
    sum: PendingSum


def kept_work(own: Mark, last_step: Mark, accumulated_batches: int) -> Mark:
    """Work that a checkpoint keeps: of a step that is not finished it holds no gradients, so its batches are in vain.

    Args:
        own: All work so far.
        last_step: That up to the last optimizer step.
        accumulated_batches: How many batches a step has.
    """
    return last_step if accumulated_batches > 1 and own.known.batches > last_step.known.batches else own


class CheckpointTotals:
    """The checkpoints whose totals wait for the other ranks' work, in order."""

    def __init__(self) -> None:
        self._waiting: deque[SavedAt] = deque()

    def wait_for(self, saved: SavedAt) -> None:
        """Note a checkpoint, unless all is known of it."""
        if not saved.sum.done.is_set():
            self._waiting.append(saved)

    def known(self) -> Iterator[SavedAt]:
        """Those of which all is known by now."""
        while self._waiting and self._waiting[0].sum.done.is_set():
            yield self._waiting.popleft()

    def sums(self) -> list[PendingSum]:
        """What the others wait for."""
        return [each.sum for each in self._waiting]
