"""A number that a logger receives, and why it may be absent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from flopwatch.run.moment import Moment

Form = Literal["percent", "share", "count", "duration", "FLOPs", "hours", "usd", "plain"]


@dataclass(frozen=True)
class Chart:
    """Where a dashboard shows a key; keys of one title share a chart. `smoothed` draws a mean beside the values."""

    section: Literal["Efficiency", "Loss", "Budget", "Hardware", "Where time goes"]
    title: str
    unit: str
    smoothed: bool = False


@dataclass(frozen=True)
class Metric:
    """One key.

    `words` and `heading` are its names in the live view, `form` and `unit` how it is printed there; one that is
    `in_lines` has a column where windows are lines. `absent` says when there is no value; one that `lasts` is told with
    its step until there is another.
    """

    key: str
    value: Callable[[Moment], float | None]
    meaning: str
    absent: str
    words: str
    heading: str
    form: Form
    chart: Chart
    unit: str = ""
    in_lines: bool = False
    lasts: bool = False


NO_PEAK = (
    "FLOPs are withheld, or the device or precision has no confirmed peak; the log gives the reason once, and the"
    " report repeats it"
)
NO_TOTALS = (
    "an earlier process of the run could not count, or the run resumed from a checkpoint without flopwatch's totals"
)
NO_TOKENS = "the model has no tokens (images), or the batch's shape is unknown"
NEVER = "never"
