"""What is particular to Weights & Biases; wandb itself is not imported, its run objects are enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_wandb(logger: Any) -> bool:
    """Whether a Lightning logger writes to Weights & Biases."""
    return any(base.__name__ == "WandbLogger" for base in type(logger).__mro__)


def alert(logger: Any, title: str, text: str) -> None:
    """Send an alert, which W&B turns into a message to whoever asked for them."""
    logger.experiment.alert(title=title, text=text)


def write_summary(logger: Any, values: Mapping[str, float | str | None]) -> None:
    """Put totals and means into the run's summary, under names that no logged metric has: those reset on resume."""
    summary = logger.experiment.summary
    for name, value in values.items():
        if value is not None:
            summary[f"flopwatch/{name}"] = value
