"""The runs in a folder, each with what one wants to know first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flopwatch.errors import FlopwatchError, RunFileError
from flopwatch.report.report import Report, summarize
from flopwatch.run.reading_bar import no_bar
from flopwatch.run.run_file import Run, Tell, read_run

Order = Literal["when", "mfu", "cost", "time", "steps"]


@dataclass(frozen=True)
class ListedRun:
    """A run in a few numbers, in base units; unknown is `None`.

    `path` is the run file of its last process, `started_at` seconds since 1970.
    """

    path: Path
    name: str | None
    status: str
    started_at: float
    wall_seconds: float
    step: int
    mfu: float | None
    run_mfu: float | None
    flops: int | None
    tokens: int | None
    usd: float | None
    loss: float | None = None
    validation_loss: float | None = None


@dataclass(frozen=True)
class Found:
    """What is in a folder: its runs, and files that could not be read, each with why."""

    runs: tuple[ListedRun, ...]
    unreadable: tuple[tuple[Path, str], ...]


def runs_in(folder: Path, tell: Tell = no_bar) -> Found:
    """Return the runs whose run files are in or below a folder; a run that was resumed is one.

    Args:
        folder: Where to look; W&B's copies of run files are left out.
        tell: Is told how far a file has been read.

    Raises:
        RunFileError: If there is no such folder, or no run file in it.
    """
    if not folder.is_dir():
        raise RunFileError(f"expected a folder with runs, found none at {folder}")
    files = sorted(each for each in folder.rglob("run*.jsonl") if each.is_file() and not _is_a_copy(each, folder))
    runs: dict[Path, Run] = {}
    unreadable: list[tuple[Path, str]] = []
    for path in files:
        run = _read_or_why_not(path, tell)
        if isinstance(run, Run):
            runs[path.resolve()] = run
        else:
            unreadable.append((path, run))
    if not files:
        raise RunFileError(f"expected runs in {folder.resolve()}, found no run file (run.jsonl); pass their folder")
    earlier = {path for run in runs.values() for path in run.earlier_files}
    listed = (listed_run(run.path, summarize(run)) for path, run in runs.items() if path not in earlier)
    return Found(tuple(listed), tuple(unreadable))


def _read_or_why_not(path: Path, tell: Tell) -> Run | str:
    try:
        return read_run(path, tell)
    except FlopwatchError as error:
        return str(error)


def _is_a_copy(path: Path, folder: Path) -> bool:
    return {"wandb", "files"} <= set(path.relative_to(folder).parts)


def listed_run(path: Path, report: Report) -> ListedRun:
    """Return a run's row."""
    return ListedRun(
        path=path,
        name=report.name,
        status=report.status,
        started_at=report.started_at,
        wall_seconds=report.wall_seconds,
        step=report.step,
        mfu=report.mfu,
        run_mfu=report.run_mfu,
        flops=report.totals.counts.flops,
        tokens=report.totals.counts.tokens,
        usd=report.usd,
        loss=report.loss,
        validation_loss=report.validation_loss,
    )


def in_order(runs: Iterable[ListedRun], order: Order) -> Sequence[ListedRun]:
    """Sort runs, the newest or largest first; what is unknown comes last."""

    def key(run: ListedRun) -> float:
        values = {
            "when": run.started_at,
            "mfu": run.mfu,
            "cost": run.usd,
            "time": run.wall_seconds,
            "steps": run.step,
        }
        value = values[order]
        return float("-inf") if value is None else float(value)

    return sorted(runs, key=key, reverse=True)
