"""The run's losses, a mean of each window: read from what the training step returned, without ever waiting for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeGuard

import torch

_MOST_KEPT = 64
_READABLE = ("cpu", "cuda")  # of others torch cannot tell whether a copy has arrived without waiting for it
_VALIDATION = "val_loss"


class PendingMean:
    """The mean of a few losses, on its way from the device.

    Args:
        losses: Tensors of one value each, on one device, with what each was divided by.
    """

    def __init__(self, losses: list[tuple[torch.Tensor, int]]) -> None:
        mean = torch.stack([each.detach().reshape(()).float() * divisor for each, divisor in losses]).mean()
        self._event: torch.cuda.Event | None = None
        if mean.is_cuda:
            host = torch.empty((), dtype=torch.float32, device="cpu", pin_memory=True)
            host.copy_(mean, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()
            mean = host
        self._mean = mean

    def has_arrived(self) -> bool:
        """Return whether the mean is here; never waits."""
        return self._event is None or bool(self._event.query())

    def value(self) -> float | None:
        """Return the mean, or `None` if it has not arrived or is no finite number."""
        if not self.has_arrived():
            return None
        value = float(self._mean)
        return value if math.isfinite(value) else None


class WindowLosses(NamedTuple):
    """Of a window: the mean training loss, and the last validation loss if there is a new one."""

    training: PendingMean | None
    validation: PendingMean | None

    def have_arrived(self) -> bool:
        """Return whether both are here, as far as there are any."""
        return all(each is None or each.has_arrived() for each in self)


class Losses:
    """Collects the losses of a window, evenly thinned out where there are more than 64.

    Args:
        trainer: Holds what the module has logged.
        training: Name of a logged metric to take instead of what the training step returns: its value at a window's
            end.
        validation: Name of the logged validation loss; by default `val_loss`.
    """

    def __init__(self, trainer: Any, training: str | None, validation: str | None) -> None:
        self._trainer, self._training_name = trainer, training
        self._validation_name = validation or _VALIDATION
        self._kept: list[tuple[torch.Tensor, int]] = []
        self._batches, self._stride = 0, 1
        self._validation: PendingMean | None = None
        self._seen: dict[str, torch.Tensor] = {}

    def add(self, outputs: Any) -> None:
        """Add a batch: what Lightning keeps of the training step's result.

        In automatic optimization that is a copy, divided by the number of accumulated batches, of which a reference is
        kept; in manual optimization it is the module's own tensor, which may be part of a large one, or change.
        """
        if self._training_name is not None:
            return
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if not _is_loss(loss):
            return
        if self._batches % self._stride == 0:
            if len(self._kept) == _MOST_KEPT:
                self._kept = self._kept[::2]
                self._stride *= 2
            if self._batches % self._stride == 0:
                self._kept.append(self._as_returned(loss))
        self._batches += 1

    def _as_returned(self, loss: torch.Tensor) -> tuple[torch.Tensor, int]:
        if self._trainer.lightning_module.automatic_optimization:
            return loss, self._trainer.accumulate_grad_batches
        return loss.detach().clone(), 1

    def validated(self) -> None:
        """Validation has ended: keep its loss, if the module logged one."""
        loss = self._logged(self._validation_name)
        if loss is not None:
            self._validation = PendingMean([(loss, 1)])

    def _logged(self, name: str) -> torch.Tensor | None:
        """A metric that was logged since the last time; Lightning keeps those of earlier epochs, too."""
        logged = self._trainer.callback_metrics.get(name)
        if not _is_loss(logged) or logged is self._seen.get(name):
            return None
        self._seen[name] = logged
        return logged

    def take(self) -> WindowLosses:
        """Return the losses of the window that ends now."""
        losses, self._kept = self._kept, []
        self._batches, self._stride = 0, 1
        if self._training_name is not None:
            logged = self._logged(self._training_name)
            losses = [] if logged is None else [(logged, 1)]
        validation, self._validation = self._validation, None
        return WindowLosses(PendingMean(losses) if losses else None, validation)


def _is_loss(value: Any) -> TypeGuard[torch.Tensor]:
    """Whether this is a plain tensor of one value: to read a distributed one, ranks would wait for each other."""
    return type(value) is torch.Tensor and value.numel() == 1 and value.device.type in _READABLE
