"""What flopwatch touches of Lightning's Trainer, in one place to read before an upgrade of Lightning.

A training loop of another framework that has these could be watched as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class TrainingLoop(Protocol):
    """The public attributes of a `Trainer` that are read; `should_stop`, `callbacks` are also written."""

    # Where it stands.
    global_step: int
    current_epoch: int
    should_stop: bool
    sanity_checking: bool
    fast_dev_run: bool | int

    # Its limits: `max_steps` is -1 without one, `num_training_batches` is infinite where a loader has no length.
    max_steps: int
    num_training_batches: int | float
    estimated_stepping_batches: int | float
    accumulate_grad_batches: int

    # Its processes. `strategy.root_device` is this one's device.
    world_size: int
    global_rank: int
    is_global_zero: bool
    strategy: Any
    precision_plugin: Any

    # What it is made of.
    lightning_module: Any
    callbacks: list[Any]
    loggers: Sequence[Any]
    profiler: Any
    progress_bar_callback: Any
    checkpoint_callback: Any
    default_root_dir: str
    fit_loop: Any


def logging_step(trainer: TrainingLoop) -> int:
    """The step on the axis on which Lightning itself logs; one behind `global_step` at the end of a batch.

    It is private, and with several optimizers differs from `global_step`: batches that stepped, not steps.
    """
    return int(trainer.fit_loop.epoch_loop._batches_that_stepped)
