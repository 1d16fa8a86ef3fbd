"""MFU that published runs reached on a chip, so that a reader knows what a number is worth."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from flopwatch.run.records import Device

_NEAR = 2.5  # parameters may be so many times more or fewer
_FEWEST = 2


@dataclass(frozen=True)
class PublishedRun:
    """A run whose MFU was published, by its authors' own way of counting; a row of `data/published_mfu.csv`."""

    device: str
    parameters: int
    devices: int
    seq_len: int
    mfu: float
    counting: str
    source: str


@dataclass(frozen=True)
class Known:
    """The MFU range, from `low` to `high`, that published runs of similar size reached on the chip."""

    low: float
    high: float
    runs: int
    smallest: int
    largest: int
    sources: tuple[str, ...]
    counting: tuple[str, ...]


def known_mfu(device: Device, parameters: int | None) -> Known | None:
    """Published MFU on the same chip in bf16, of models up to 2.5 times as large or small; `None` below two of them."""
    if not parameters or device.dtype not in ("bf16", "fp16"):
        return None
    near = [
        run
        for run in published_runs()
        if device.name.startswith(run.device) and abs(math.log(run.parameters / parameters)) <= math.log(_NEAR)
    ]
    return _summary(near) if len(near) >= _FEWEST else None


def _summary(runs: Sequence[PublishedRun]) -> Known:
    return Known(
        low=min(run.mfu for run in runs),
        high=max(run.mfu for run in runs),
        runs=len(runs),
        smallest=min(run.parameters for run in runs),
        largest=max(run.parameters for run in runs),
        sources=tuple(dict.fromkeys(run.source for run in runs)),
        counting=tuple(dict.fromkeys(run.counting for run in runs)),
    )


@cache
def published_runs() -> tuple[PublishedRun, ...]:
    """Return the rows of the table of published runs."""
    text = resources.files("flopwatch").joinpath("data/published_mfu.csv").read_text(encoding="utf-8")
    return tuple(
        PublishedRun(
            device=row["device"],
            parameters=int(row["parameters"]),
            devices=int(row["devices"]),
            seq_len=int(row["seq_len"]),
            mfu=float(row["mfu"]),
            counting=row["counting"],
            source=row["source"],
        )
        for row in csv.DictReader(text.splitlines())
    )
