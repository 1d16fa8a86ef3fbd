"""What every counter gives, and what it is given: a batch's cost, what was seen of it, what is counted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import nn

from flopwatch.errors import MeasurementError
from flopwatch.hardware.chips import Dtype
from flopwatch.lightning.counting.batches import BatchReader
from flopwatch.lightning.counting.lengths import LateLengths
from flopwatch.measure.results import Measurement
from flopwatch.model.architecture import AttentionConvention
from flopwatch.run.counts import Counts
from flopwatch.run.records import Work

_logger = logging.getLogger("flopwatch")


class Pattern(NamedTuple):
    """How a batch trained: which parameters, as a number, and how many backward passes ended or were given up."""

    parameters: int = 0
    backwards: int = 1
    given_up: int = 0


class Warnings:
    """Says each sentence once."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def say(self, sentence: str) -> None:
        """Warn, unless it was said before."""
        if sentence not in self._said:
            self._said.add(sentence)
            _logger.warning("%s", sentence)


@dataclass(frozen=True)
class Cost:
    """FLOPs of one training batch on one device; hardware FLOPs are unknown where recomputation is.

    `forward_flops` are those of its forward pass, where they are told apart.
    """

    flops: int
    hardware_flops: int | None
    forward_flops: int | None = None


@dataclass(frozen=True)
class Seen:
    """What a watched batch ran, under the run's convention and over all pairs of attention."""

    counted: Measurement
    all_pairs: Measurement

    @property
    def flops(self) -> int:
        """Forward and backward of what has a formula."""
        return self.counted.forward_flops + self.counted.backward_flops


Look = Seen | MeasurementError | None  # of a batch: what was seen, why nothing could be, or not watched


def _no_dtype() -> Dtype | None:
    return None


@dataclass(frozen=True)
class Subject:
    """What is counted: the module and its convention, with what reads its batches.

    `tensor_core_dtype` tells, once a batch has run, the precision in which tensor cores multiply, `None` without any.
    """

    module: nn.Module
    attention: AttentionConvention
    reader: BatchReader
    late: LateLengths
    sharded: bool
    warnings: Warnings
    tensor_core_dtype: Callable[[], Dtype | None] = _no_dtype

    def tells_forward_only(self, training: Pattern) -> bool:
        """Whether no backward pass is sure to have run: of a module that optimizes by itself nobody may have heard."""
        return training.backwards == 0 and getattr(self.module, "automatic_optimization", False) is True

    def parameters(self) -> int | None:
        """Parameters of the whole module; unknown where they are split over devices."""
        return None if self.sharded else sum(each.numel() for each in self.module.parameters())

    def trainable_parameters(self) -> int | None:
        """Those of them that train."""
        return None if self.sharded else sum(each.numel() for each in self.module.parameters() if each.requires_grad)


class Counter(Protocol):
    """Counts the batches of one module in one way; `work` describes the first one."""

    work: Work

    def count(self, batch: Any, look: Look, training: Pattern) -> Counts:
        """What a batch cost.

        Args:
            batch: As the DataLoader gave it.
            look: What was seen of it.
            training: How it trained.

        Raises:
            ConfigError: If it cannot be counted in this way any more.
        """

    def knows(self, batch: Any, training: Pattern) -> bool:
        """Whether a batch's cost is known without watching it."""

    def cost(self, batch: Any, training: Pattern) -> Cost | None:
        """What a batch that was counted cost, its forward pass told apart; `None` where that is not known."""

    def objection(self, batch: Any, seen: Seen, training: Pattern) -> str | None:
        """Why what was seen of a batch shows that this way of counting no longer holds."""

    def at_the_end(self) -> Work:
        """How the batches were counted, as it turned out."""


class TrainingParameters:
    """Tells by a number which parameters train: equal numbers, equal parameters.

    Args:
        module: The module; its parameters are listed anew by `list_again` alone, since walking through it takes long.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._parameters = list(module.parameters())
        self._trains: list[bool] = []
        self._number = -1
        self._numbers: dict[tuple[bool, ...], int] = {}

    def list_again(self) -> None:
        """Record the module's parameters."""
        self._parameters = list(self._module.parameters())

    def now(self) -> int:
        """Return the number that identifies which parameters train now."""
        trains = [each.requires_grad for each in self._parameters]
        if trains != self._trains:
            self._trains = trains
            self._number = self._numbers.setdefault(tuple(trains), len(self._numbers))
        return self._number
