"""The user's own count of a batch, which takes precedence over every other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flopwatch.errors import ConfigError
from flopwatch.lightning.counting.contents import Contents
from flopwatch.lightning.counting.counter import Cost, Look, Pattern, Seen, Subject
from flopwatch.run.counts import Counts
from flopwatch.run.records import Work
from flopwatch.units import quoted

FlopsPerBatch = Callable[[Any], int]


class GivenCounter:
    """Counts batches by the user's function.

    Args:
        subject: What is counted.
        given: From a batch to its training FLOPs.
        batch: The first batch.
        look: What was seen of it.

    Raises:
        ConfigError: If the function fails on it.
    """

    def __init__(self, subject: Subject, given: FlopsPerBatch, batch: Any, look: Look) -> None:
        self._given, self._contents, self._warnings = given, Contents(subject, batch), subject.warnings
        flops = self._flops(batch)
        beside = "no batch was watched as a check"
        if isinstance(look, Seen):
            beside = f"a watched batch ran {look.flops:,} FLOPs, the function returned {flops:,}"
        self.work = replace(
            self._contents.described(batch, Cost(flops, None)),
            verification="given",
            note=f"given by the user's flops_per_batch; {beside}",
        )

    def _flops(self, batch: Any) -> int:
        flops: Any = None
        try:
            flops = self._given(batch)
        except Exception as error:
            flops = type(error).__name__
        if isinstance(flops, int) and not isinstance(flops, bool) and flops >= 0:
            return flops
        raise ConfigError(f"flops_per_batch failed: expected a whole number of FLOPs, got {quoted(flops)}")

    def count(self, batch: Any, look: Look, training: Pattern) -> Counts:
        """What the function gives for the batch; hardware FLOPs are not known."""
        flops = None
        try:
            flops = self._flops(batch)
        except ConfigError as error:
            self._warnings.say(f"{error}; FLOPs are unknown")
        return self._contents.amounts(batch, flops, None)

    def knows(self, batch: Any, training: Pattern) -> bool:
        """Return `True`: the user's function counts every batch."""
        return True

    def cost(self, batch: Any, training: Pattern) -> Cost | None:
        """Return `None`: the user's function does not tell the forward pass apart."""
        return None

    def objection(self, batch: Any, seen: Seen, training: Pattern) -> str | None:
        """Return `None`: the user's count takes precedence."""
        return None

    def at_the_end(self) -> Work:
        """Return the description of the first batch, unchanged."""
        return self.work
