"""What flopwatch writes to a Weights & Biases run, during the run and at its end, through the Trainer's logger."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STEP_AXIS = "trainer/global_step"
TENSORBOARD_AXIS = "global_step"  # of a run that is fed from TensorBoard
SUMMARY = "flopwatch"
TOKENS, LOSSES = "budget/tokens", ("loss/train", "loss/validation")
MARKS = ("perf/step_seconds", "budget/device_hours")


@dataclass(frozen=True)
class Table:
    """Columns and rows for a `wandb.Table`."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[str | float | None, ...]]


def prefix_of(row: Mapping[str, Any]) -> str | None:
    """The prefix that the user gave to our keys in a logged row; `None` for rows of others.

    Every row of ours has two keys under the same prefix, which ends in "-" (the WandbLogger's) or "/" (FlopWatch's).
    """
    prefixes = (key.removesuffix(MARKS[0]) for key in row if key.endswith(MARKS[0]))
    return next((each for each in prefixes if each[-1:] in ("", "-", "/") and f"{each}{MARKS[1]}" in row), None)


def own_part(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """A logged row by our own keys, without the prefix that the user gave them; `None` for rows of others."""
    prefix = prefix_of(row)
    if prefix is None:
        return None
    own = {name.removeprefix(prefix): value for name, value in row.items()}
    own.setdefault(STEP_AXIS, row.get(TENSORBOARD_AXIS))
    return own


def is_wandb(logger: Any) -> bool:
    """Return whether a Lightning logger writes to Weights & Biases."""
    return any(base.__name__ == "WandbLogger" for base in type(logger).__mro__)


def set_axis(logger: Any, keys: Iterable[str], axis: str | None = None) -> None:
    """Give metrics an axis by name, so that no pattern that the user defines takes it away.

    A logger that is fed from TensorBoard has an axis of its own, and keeps it.

    Args:
        logger: Lightning's.
        keys: The metrics.
        axis: A metric of ours; by default Lightning's steps.
    """
    if (getattr(logger, "_wandb_init", None) or {}).get("sync_tensorboard"):
        return
    prefix = getattr(logger, "_prefix", "")
    before = f"{prefix}{logger.LOGGER_JOIN_CHAR}" if prefix else ""
    over = STEP_AXIS if axis is None else f"{before}{axis}"
    for key in keys:
        logger.experiment.define_metric(f"{before}{key}", step_metric=over, step_sync=True)


def alert(logger: Any, title: str, text: str) -> None:
    """Send an alert, which W&B turns into a message to whoever asked for them."""
    logger.experiment.alert(title=title, text=text, level="WARN")


def write_summary(logger: Any, values: Mapping[str, float | str | None]) -> None:
    """Put totals and means into the run's summary, under names that no logged metric has: those reset on resume."""
    summary = logger.experiment.summary
    for name, value in values.items():
        if value is not None:
            summary[f"{SUMMARY}/{name}"] = value


def attach(logger: Any, tables: Mapping[str, Table], page: Path | None, run_file: Path | None) -> None:
    """Attach tables, the report's page and the run file to a run that ends; takes a tenth of a second.

    The run file is named by its folder, too, so that those of a run's processes do not replace each other, and copied,
    so that a run's folder can be moved to another machine.
    """
    import wandb

    media: dict[str, Any] = {
        f"{SUMMARY}/{name}": wandb.Table(columns=list(table.columns), data=[list(row) for row in table.rows])
        for name, table in tables.items()
    }
    if page is not None:
        with page.open(encoding="utf-8") as file:
            media[f"{SUMMARY}/report"] = wandb.Html(file, inject=False)
    run = logger.experiment
    run.log(media)
    if run_file is None:
        return
    copy = Path(run.dir) / run_file.resolve().parent.name / run_file.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run_file, copy)
    run.save(str(copy), base_path=run.dir, policy="now")
