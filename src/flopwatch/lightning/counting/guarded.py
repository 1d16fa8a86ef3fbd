"""Counting whose errors cost the FLOPs of a batch, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from flopwatch.errors import in_words
from flopwatch.lightning.apart import Apart
from flopwatch.lightning.counting.counter import Cost
from flopwatch.lightning.counting.picking import Counting
from flopwatch.run.counts import UNKNOWN, Counts
from flopwatch.run.records import Work

_FLOPS = "counting the FLOPs of a batch"


class GuardedCounting:
    """A module's `Counting`, or what is left of it: a batch that it fails on has tokens and samples alone.

    Args:
        module: The LightningModule.
        arguments: As those of `Counting`.
    """

    def __init__(self, module: nn.Module, **arguments: Any) -> None:
        self._apart = Apart()
        self._knows_how = False
        self._news: Work | None = None
        self._counting: Counting | None = None
        try:
            self._counting = Counting(module, **arguments)
        except Exception as error:
            self._withhold(error)

    def _withhold(self, error: Exception) -> None:
        self._apart.say(_FLOPS, error)
        if not self._knows_how:
            self._knows_how = True
            self._news = Work("withheld", f"counting failed: {in_words(error)}")

    def parameters(self) -> int | None:
        """As `Counting.parameters`."""
        return None if self._counting is None else self._apart.run("counting parameters", self._counting.parameters)

    def check_soon(self) -> None:
        """As `Counting.check_soon`."""
        if self._counting is not None:
            self._apart.run(_FLOPS, self._counting.check_soon)

    def plan(self, batch: Any) -> None:
        """As `Counting.plan`."""
        if self._counting is not None:
            self._apart.run("planning which batches are watched", self._counting.plan, batch)

    def batch_begins(self) -> None:
        """As `Counting.batch_begins`; it is called in the user's step, which no error of ours may reach."""
        if self._counting is not None:
            self._apart.run("watching a batch", self._counting.batch_begins)

    def batch_ends(self) -> None:
        """As `Counting.batch_ends`."""
        if self._counting is not None:
            self._apart.run("watching a batch", self._counting.batch_ends)

    def hold(self, holds: bool) -> None:
        """As `Counting.hold`."""
        if self._counting is not None:
            self._counting.hold(holds)

    def backward_begins(self, loss: Any) -> None:
        """As `Counting.backward_begins`."""
        if self._counting is not None:
            self._apart.run("watching a batch", self._counting.backward_begins, loss)

    def backward_ends(self) -> None:
        """As `Counting.backward_ends`."""
        if self._counting is not None:
            self._apart.run("watching a batch", self._counting.backward_ends)

    def release(self) -> None:
        """As `Counting.release`."""
        if self._counting is not None:
            self._apart.run("watching a batch", self._counting.release)

    def count(self, batch: Any) -> Counts:
        """As `Counting.count`; FLOPs are unknown where it fails."""
        if self._counting is None:
            return UNKNOWN
        try:
            return self._counting.count(batch)
        except Exception as error:
            self._withhold(error)
        return self._apart.run("reading a batch", self._counting.contents, batch) or UNKNOWN

    def products(self) -> Mapping[torch.dtype, int]:
        """As `Counting.products`."""
        return {} if self._counting is None else self._counting.products()

    def was_watched(self) -> bool:
        """Whether the batch that was counted last was watched."""
        return self._counting is not None and self._counting.was_watched

    def cost(self, batch: Any) -> Cost | None:
        """As `Counting.cost`."""
        return None if self._counting is None else self._apart.run(_FLOPS, self._counting.cost, batch)

    def skip(self) -> None:
        """As `Counting.skip`."""
        if self._counting is not None:
            self._apart.run(_FLOPS, self._counting.skip)

    def settle(self, *, last: bool = False) -> list[Counts]:
        """As `Counting.settle`; what cannot be settled is unknown."""
        if self._counting is None:
            return []
        try:
            return self._counting.settle(last=last)
        except Exception as error:
            self._apart.say("reading the lengths in a batch", error)
            return [UNKNOWN]

    def news(self) -> Work | None:
        """As `Counting.news`; withheld where the first batch could not be counted."""
        news = None if self._counting is None else self._counting.news()
        if news is not None:
            self._knows_how, self._news = True, None
            return news
        news, self._news = self._news, None
        return news

    def at_the_end(self) -> Work | None:
        """As `Counting.at_the_end`."""
        return None if self._counting is None else self._apart.run(_FLOPS, self._counting.at_the_end)
