"""Ending training at a budget: on all ranks at the same optimizer step, with a checkpoint if the Trainer keeps any."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from flopwatch.lightning.exchange import Request
from flopwatch.lightning.ranks import Ranks

_logger = logging.getLogger("flopwatch")
_PATIENCE_SECONDS = 60.0
_FEWEST_STEPS_AHEAD = 2
_SECONDS_AHEAD = 0.5


class StopAtStep:
    """Agrees with all ranks on the step to stop at. The first rank proposes one that nobody has come to yet.

    Args:
        ranks: The run's processes.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._step: int | None = None
        self._request: Request | None = None
        self._ahead = _FEWEST_STEPS_AHEAD

    @property
    def is_set(self) -> bool:
        """Whether a step was agreed on, or is being asked about."""
        return self._step is not None

    def aim(self, step: int, now: int, step_seconds: float = 0.0) -> None:
        """Stop at a step, or as soon after it as all ranks can be told; on the first rank only.

        Args:
            step: The step that reaches the budget.
            now: The step that this rank has done.
            step_seconds: How long one takes, so that everybody hears of it in time.
        """
        if self._step is not None:
            return
        if self._ranks.world_size > 1:
            ahead = self._ahead if step_seconds <= 0 else max(self._ahead, round(_SECONDS_AHEAD / step_seconds))
            step = max(step, now + ahead)
            self._request = self._ranks.propose_stop(step)
            if self._request is None:
                return
        self._step = step

    def ends_at(self, step: int) -> bool:
        """Whether training ends with this step, which was just done; to be asked on every rank."""
        if self._ranks.world_size == 1:
            return self._step is not None and step >= self._step
        if self._request is not None and self._step is not None:
            self._decide(self._request, self._step, step)
        return self._ranks.must_stop(step)

    def _decide(self, request: Request, at: int, step: int) -> None:
        """Say what becomes of a proposal once all have answered; at its step that is waited for."""
        if step >= at:
            request.done.wait(_PATIENCE_SECONDS)
        if not request.done.is_set():
            return
        all_can = request.share is not None and not request.share.failed
        self._ranks.decide_stop(at, stop=all_can)
        self._request = None
        if not all_can:
            self._step = None
            self._ahead *= 2
            self.aim(at, step)


def save_at_the_end(trainer: Any) -> Path | None:
    """Save a checkpoint where training stopped, unless the Trainer keeps none or has just saved one; on every rank."""
    keeper = trainer.checkpoint_callback
    if keeper is None or getattr(keeper, "_last_global_step_saved", None) == trainer.global_step:
        return None
    folder = getattr(keeper, "dirpath", None) or trainer.default_root_dir
    path = Path(folder) / f"budget-step={trainer.global_step}.ckpt"
    trainer.save_checkpoint(path, weights_only=bool(getattr(keeper, "save_weights_only", False)))
    return path
