"""The checkpoint of a run that a budget ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def save_at_the_end(trainer: Any) -> Path | None:
    """Save a checkpoint where training stopped, unless the Trainer keeps none or has just saved one; on every rank."""
    keeper = trainer.checkpoint_callback
    if keeper is None or getattr(keeper, "_last_global_step_saved", None) == trainer.global_step:
        return None
    folder = getattr(keeper, "dirpath", None) or trainer.default_root_dir
    path = Path(folder) / f"budget-step={trainer.global_step}.ckpt"
    trainer.save_checkpoint(path, weights_only=bool(getattr(keeper, "save_weights_only", False)))
    return path
