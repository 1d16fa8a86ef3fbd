"""Where the peak went: what a run's devices could have done in all its wall time, part by part, to the integer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flopwatch import units
from flopwatch.report.time_book import Stretch, standing, time_book
from flopwatch.run import rates
from flopwatch.run.counts import Counts
from flopwatch.run.run_file import Run
from flopwatch.run.time_kinds import (
    CLOCK,
    INTERRUPTION,
    PADDING,
    RECOMPUTED,
    REST,
    TIME_KINDS,
    TRAINING,
    USEFUL,
    kinds_at,
)


@dataclass(frozen=True)
class Part:
    """A part of what the devices could have done: FLOPs at their peak, device-seconds, and money where it was paid for.

    `kind` is a kind of time or, within training steps: "clock" (below the clock of the peak), "recomputed" (by
    activation checkpointing), "rest" (kernels, communication, launch gaps; with a profile its parts,
    `time_kinds.BY_A_PROFILE`), "padding" (model FLOPs spent on padding), "useful" (model FLOPs of tokens that count).
    Without known FLOPs "training" is one part.
    """

    kind: str
    flops: int | None
    device_seconds: float
    usd: float | None


def waterfall(run: Run, rest_shares: Mapping[str, float] | None = None) -> tuple[Part, ...]:
    """The parts of a run, in the order of `TIME_KINDS`, the absent ones left out.

    Their FLOPs add up to peak x devices x wall time rounded to an integer, their device-seconds to devices x wall time.
    The time between processes is in it, at the price of nothing. Where the peak is unknown there are no FLOPs.

    Args:
        run: The run.
        rest_shares: What the rest is made of by a profile of a few steps, in shares that add up to 1.

    Returns:
        Nothing for files that do not hold seconds by kind, or whose clock went backwards.
    """
    stretches = time_book(run)
    if not all(stretch.is_whole for stretch in stretches):
        return ()
    totals, _, _ = standing(run.segments[-1])
    device_seconds: dict[str, float] = defaultdict(float)
    flops: dict[str, float] | None = defaultdict(float)
    for stretch in stretches:
        for kind, seconds in stretch.seconds.items():
            device_seconds[kind] += seconds * stretch.devices
            if stretch.rate is None:
                flops = None
            elif flops is not None:
                flops[kind] += seconds * stretch.rate
    whole = _whole(flops) if flops else None
    if whole is not None and totals.counts.flops is not None and TRAINING in whole:
        whole = _divided(_split(whole, totals.counts, _clock_loss(stretches)), rest_shares)
        device_seconds = _shared(device_seconds, whole)
    price = run.segments[-1].start.usd_per_device_hour
    kinds = [kind for kind in TIME_KINDS if device_seconds.get(kind) or (whole or {}).get(kind)]
    return tuple(
        Part(
            kind,
            None if whole is None else whole.get(kind, 0),
            device_seconds.get(kind, 0.0),
            _money(kind, device_seconds.get(kind, 0.0), price),
        )
        for kind in kinds
    )


def shares(parts: Sequence[Part]) -> list[float | None]:
    """The parts' shares of what the devices could have done or, where FLOPs are not known, of their time.

    The two differ where the processes of a run had different peaks.
    """
    flops = [part.flops for part in parts if part.flops is not None]
    amounts = flops if len(flops) == len(parts) and sum(flops) > 0 else [part.device_seconds for part in parts]
    whole = sum(amounts)
    return [rates.fraction(amount, whole) for amount in amounts]


def _whole(flops: Mapping[str, float]) -> dict[str, int]:
    """Integers that add up to the rounded sum: the largest part takes what rounding leaves."""
    whole = {kind: round(amount) for kind, amount in flops.items()}
    largest = max(whole, key=lambda kind: whole[kind])
    whole[largest] += round(sum(flops.values())) - sum(whole.values())
    return whole


def _split(whole: dict[str, int], counts: Counts, clock_loss: float | None) -> dict[str, int]:
    """Training steps' part by what was done in them; what nothing explains is the rest."""
    assert counts.flops is not None
    split = {kind: flops for kind, flops in whole.items() if kind != TRAINING}
    if counts.tokens and counts.useful_tokens is not None:
        split[PADDING] = counts.flops * (counts.tokens - counts.useful_tokens) // counts.tokens
    split[USEFUL] = counts.flops - split.get(PADDING, 0)
    if counts.hardware_flops is not None:
        split[RECOMPUTED] = counts.hardware_flops - counts.flops
    if clock_loss is not None:
        split[CLOCK] = round(clock_loss)
    split[REST] = sum(whole.values()) - sum(split.values())
    return split


def _divided(split: dict[str, int], shares: Mapping[str, float] | None) -> dict[str, int]:
    """The rest by its shares: integers, of which the largest takes what rounding leaves."""
    if not shares or split[REST] <= 0:
        return split
    rest = split[REST]
    parts = {kind: int(rest * share) for kind, share in shares.items()}
    largest = max(parts, key=lambda kind: parts[kind])
    parts[largest] += rest - sum(parts.values())
    return {**{kind: flops for kind, flops in split.items() if kind != REST}, **parts}


def _clock_loss(stretches: Sequence[Stretch]) -> float | None:
    """FLOPs that could not be done as the clock was below that of the peak, in the windows in which it is known.

    Unknown where the windows of a process are gone.
    """
    if any(stretch.seconds.get(TRAINING) and not stretch.windows for stretch in stretches):
        return None
    losses = [
        (window.seconds - window.data_wait_seconds) * stretch.rate * (1 - window.sm_clock_hz / stretch.boost_clock_hz)
        for stretch in stretches
        if stretch.rate is not None and stretch.boost_clock_hz is not None
        for window in stretch.windows
        if window.sm_clock_hz is not None and window.sm_clock_hz < stretch.boost_clock_hz
    ]
    return sum(losses) if losses else None


def _shared(device_seconds: Mapping[str, float], whole: Mapping[str, int]) -> dict[str, float]:
    """Divide training's device-seconds in proportion to its FLOPs."""
    training = device_seconds[TRAINING]
    inside = {kind: flops for kind, flops in whole.items() if kind in kinds_at("part of steps")}
    total = sum(inside.values())
    shared = {kind: seconds for kind, seconds in device_seconds.items() if kind != TRAINING}
    return {**shared, **{kind: training * flops / total for kind, flops in inside.items() if total}}


def _money(kind: str, device_seconds: float, price: float | None) -> float | None:
    if price is None:
        return None
    return 0.0 if kind == INTERRUPTION else device_seconds / units.SECONDS_PER_HOUR * price
