"""What the user asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from flopwatch.hardware.chips import Chip, Dtype
from flopwatch.lightning.counting.shapes import BatchShape
from flopwatch.lightning.devices import UsersPeak
from flopwatch.model.architecture import AttentionConvention
from flopwatch.run.budget import Budget

OnBudget = Literal["warn", "stop"] | Callable[[Any, str], None]


@dataclass(frozen=True)
class Options:
    """The arguments of `FlopWatch`, checked."""

    budgets: tuple[Budget, ...] = ()
    config: object | None = None
    peak_flops_per_second: UsersPeak = None
    attention: AttentionConvention = "causal"
    batch_shape: BatchShape | None = None
    flops_per_batch: Callable[[Any], int] | None = None
    every_n_seconds: float = 10.0
    every_n_steps: int | None = None
    usd_per_device_hour: float | None = None
    dirpath: Path | None = None
    report: bool = True
    prefix: str = ""
    optimizer_flops: int | None = None
    chips: tuple[Chip, ...] = ()
    dtype: Dtype | None = None
    on_budget: OnBudget = "warn"
    alert_below_mfu: float | None = None
    alert_after_seconds: float = 600.0
    inference: bool = False
