"""How many backward passes a batch had: a training step may be a forward pass alone."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn
from torch.autograd import Variable

_LIGHTNING = ("pytorch_lightning.", "lightning.")


class Backwards:
    """Backward passes of the present batch: those that began, and those of them that finished.

    Lightning calls a hook before and after each. A module with a `backward` of its own may skip it or give it up in
    between, so there the loss itself tells.

    Args:
        module: The LightningModule.
    """

    def __init__(self, module: nn.Module) -> None:
        self._asks_autograd = has_own_backward(module)
        self._begun = self._ended = 0

    def begin(self, loss: Any) -> None:
        """Note that Lightning is about to run a backward pass from this loss."""
        if self._asks_autograd:
            self._expect(loss)
        else:
            self._begun += 1

    def end(self) -> None:
        """Note that Lightning has run it."""
        if not self._asks_autograd:
            self._ended += 1

    def _expect(self, loss: Any) -> None:
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


def has_own_backward(module: nn.Module) -> bool:
    """Whether a module's `backward` is another than Lightning's."""
    if "backward" in vars(module):
        return True
    return not getattr(getattr(type(module), "backward", None), "__module__", "").startswith(_LIGHTNING)


def _is_compiled() -> bool:
    """Whether torch traces the backward pass, and hooks on it, into a graph."""
    config = sys.modules.get("torch._dynamo.config")  # which takes a second to import
    return bool(getattr(config, "compiled_autograd", False))
