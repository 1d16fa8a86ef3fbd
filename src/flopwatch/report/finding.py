"""A loss that a report tells of, and what mending it gives back."""

from __future__ import annotations

from dataclasses import dataclass

from flopwatch import units

_LEAST_GAIN = 0.0005  # of an MFU; less would read as no points at all


def points_words(gain: float | None) -> str | None:
    """Return what a change adds to an MFU, as "1.2 points"; `None` where that is not known or nothing to speak of."""
    return None if gain is None or gain < _LEAST_GAIN else units.format_points(gain)


@dataclass(frozen=True)
class Finding:
    """A loss, and how much MFU fixing it would recover.

    `share` is what of (kind of time: all wall time; "data_wait": the training loop; "clock": training steps;
    "recomputed": hardware FLOPs; "padding": model FLOPs; "slow rank" and what is found inside of steps: the time of a
    step; "dips": the loop's time) was lost. `of_run` is the same loss as a share of all that the devices could have
    done or, where that is not known, of wall time; `None` for what is no part of it.
    `mfu_gain` and `run_mfu_gain` are in absolute points, 0.05 being five; `None` where there is no MFU. `evidence` and
    `change` are the words of what is found inside of steps.
    """

    kind: str
    share: float
    mfu_gain: float | None
    run_mfu_gain: float | None
    detail: str | None = None
    of_run: float | None = None
    evidence: str | None = None
    change: str | None = None


@dataclass(frozen=True)
class StepLoss:
    """What is lost of each step's time at most, with the evidence and what to change."""

    kind: str
    share: float
    evidence: str
    change: str
