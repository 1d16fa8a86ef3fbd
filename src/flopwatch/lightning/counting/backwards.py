"""How many backward passes a batch had, as autograd itself tells: a training step may be a forward pass alone."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch.autograd import Variable


class Backwards:
    """Backward passes of the present batch: those that began, and those of them that came to their end."""

    def __init__(self) -> None:
        self._begun = self._ended = 0

    def expect(self, loss: Any) -> None:
        """Have a loss tell of every backward pass that goes through it; it costs microseconds and changes nothing."""
        if not isinstance(loss, torch.Tensor) or not loss.requires_grad:
            return
        if _is_compiled():
            self._begun, self._ended = self._begun + 1, self._ended + 1
        else:
            loss.register_hook(self._begins)

    def _begins(self, gradient: torch.Tensor) -> None:
        self._begun += 1
        Variable._execution_engine.queue_callback(self._ends)

    def _ends(self) -> None:
        self._ended += 1

    def take(self) -> tuple[int, int]:
        """How many have ended, and how many were given up on their way, since the last call."""
        ended, given_up = self._ended, self._begun - self._ended
        self._begun = self._ended = 0
        return ended, given_up


def _is_compiled() -> bool:
    """Whether torch traces the backward pass, and hooks on it, into a graph."""
    config = sys.modules.get("torch._dynamo.config")  # which takes a second to import
    return bool(getattr(config, "compiled_autograd", False))
