"""Where the peak went: what a run's devices could have done in all its wall time, part by part, to the integer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from flopwatch import units
from flopwatch.run.records import Start, Totals, Window
from flopwatch.run.run_file import Run, Segment

TRAINING, INTERRUPTION, LOST, UNKNOWN = "training", "interruption", "lost", "unknown"
USEFUL, PADDING, RECOMPUTED, CLOCK, REST = "useful", "padding", "recomputed", "clock", "rest"
NOTICED_SECONDS = 0.05  # what two clocks differ by is no interruption
MOST_APART_SECONDS = 1.0  # two clocks of one process, while none of them is set
# The order in which they are shown: outside of training first, then inside, and last what it was all for.
ORDER = (
    *("setup", "data_wait", "validation", "checkpoint", "callbacks", "other", LOST, INTERRUPTION, UNKNOWN),
    *(TRAINING, CLOCK, RECOMPUTED, REST, PADDING, USEFUL),
)


@dataclass(frozen=True)
class Part:
    """A part of what the devices could have done: FLOPs at their peak, device-seconds, and money where it was paid for.

    `kind` is a kind of time or, within training steps: "clock" (below the clock of the peak), "recomputed" (by
    activation checkpointing), "rest" (kernels, communication, gaps between launches), "padding" (model FLOPs spent on
    padding), "useful" (model FLOPs of tokens that count). Without known FLOPs "training" is one part.
    """

    kind: str
    flops: int | None
    device_seconds: float
    usd: float | None


@dataclass(frozen=True)
class _Stretch:
    """A time with the same devices: what it was spent on, what was kept of it, and its windows."""

    rate: float | None
    devices: float
    boost_clock_hz: float | None
    seconds: Mapping[str, float]
    windows: tuple[Window, ...] = ()


def waterfall(run: Run, totals: Totals, ended_at: float) -> tuple[Part, ...]:
    """The parts of a run, in `ORDER`, the absent ones left out.

    Their FLOPs add up to peak x devices x wall time rounded to an integer, their device-seconds to devices x wall time.
    The time between processes is in it, at the price of nothing. What a process's own books do not hold of its wall
    time is "unknown", as where the machine slept or its clock was set. Where the peak is unknown there are no FLOPs.

    Args:
        run: The run.
        totals: Its totals at its end.
        ended_at: When that was (unix seconds).

    Returns:
        Nothing for files that do not hold seconds by kind, or whose clock went backwards.
    """
    if not totals.seconds_by_kind:
        return ()
    stretches = list(_stretches(run, totals, ended_at))
    if any(seconds < -MOST_APART_SECONDS for stretch in stretches for seconds in stretch.seconds.values()):
        return ()
    device_seconds: dict[str, float] = defaultdict(float)
    flops: dict[str, float] | None = defaultdict(float)
    for stretch in stretches:
        for kind, seconds in stretch.seconds.items():
            device_seconds[kind] += seconds * stretch.devices
            if stretch.rate is None:
                flops = None
            elif flops is not None:
                flops[kind] += seconds * stretch.rate
    whole = None if flops is None else _whole(flops)
    if whole is not None and totals.flops is not None and TRAINING in whole:
        whole = _split(whole, totals, _clock_loss(stretches))
        device_seconds = _shared(device_seconds, whole)
    price = run.segments[-1].start.usd_per_device_hour
    kinds = [kind for kind in ORDER if device_seconds.get(kind) or (whole or {}).get(kind)]
    return tuple(
        Part(
            kind,
            None if whole is None else whole.get(kind, 0),
            device_seconds.get(kind, 0.0),
            _money(kind, device_seconds.get(kind, 0.0), price),
        )
        for kind in kinds
    )


def _stretches(run: Run, totals: Totals, ended_at: float) -> Iterator[_Stretch]:
    first = run.segments[0].start
    if first.time > first.started_at:
        yield _before(first)
    for segment, later in pairwise(run.segments):
        yield _stretch(segment, later.start.totals, later.start.time)
    yield _stretch(run.segments[-1], totals, ended_at, rest=UNKNOWN)


def _stretch(segment: Segment, after: Totals, until: float, rest: str = INTERRUPTION) -> _Stretch:
    """A process and the time until the next one began."""
    before, device = segment.start.totals, segment.start.device
    peak = device.peak_flops_per_second
    return _Stretch(
        rate=None if peak is None else peak * device.count,
        devices=device.count,
        boost_clock_hz=device.boost_clock_hz,
        seconds=_seconds(before, after, until - segment.start.time, rest),
        windows=segment.windows,
    )


def _before(start: Start) -> _Stretch:
    """Processes whose files are gone; the totals have their seconds, the start what their devices could have done."""
    seconds = start.time - start.started_at
    devices = start.totals.device_seconds / start.totals.seconds if start.totals.seconds else start.device.count
    return _Stretch(
        rate=None if start.capacity_flops is None else start.capacity_flops / seconds,
        devices=devices,
        boost_clock_hz=None,
        seconds=_seconds(Totals(), start.totals, seconds, INTERRUPTION),
    )


def _seconds(before: Totals, after: Totals, duration: float, rest: str) -> dict[str, float]:
    """Seconds by kind between two totals, adding up to the duration; what is left is of the kind `rest`."""
    seconds = {kind: amount - before.seconds_by_kind.get(kind, 0.0) for kind, amount in after.seconds_by_kind.items()}
    seconds[LOST] = after.lost_seconds - before.lost_seconds
    left = duration - sum(seconds.values())
    noticed = MOST_APART_SECONDS if rest == UNKNOWN else NOTICED_SECONDS
    kind = rest if left >= noticed else "other"
    seconds[kind] = seconds.get(kind, 0.0) + left
    if abs(seconds.get("other", 0.0)) < NOTICED_SECONDS:
        seconds["setup"] = seconds.get("setup", 0.0) + seconds.pop("other", 0.0)
    return seconds


def shares(parts: Sequence[Part]) -> list[float | None]:
    """The parts' shares of what the devices could have done or, where FLOPs are not known, of their time.

    The two differ where the processes of a run had different peaks.
    """
    flops = [part.flops for part in parts if part.flops is not None]
    amounts = flops if len(flops) == len(parts) and sum(flops) > 0 else [part.device_seconds for part in parts]
    whole = sum(amounts)
    return [amount / whole if whole else None for amount in amounts]


def _whole(flops: Mapping[str, float]) -> dict[str, int]:
    """Integers that add up to the rounded sum: the largest part takes what rounding leaves."""
    whole = {kind: round(amount) for kind, amount in flops.items()}
    largest = max(whole, key=lambda kind: whole[kind])
    whole[largest] += round(sum(flops.values())) - sum(whole.values())
    return whole


def _split(whole: dict[str, int], totals: Totals, clock_loss: float | None) -> dict[str, int]:
    """Training steps' part by what was done in them; what nothing explains is the rest."""
    assert totals.flops is not None
    split = {kind: flops for kind, flops in whole.items() if kind != TRAINING}
    if totals.tokens and totals.useful_tokens is not None:
        split[PADDING] = totals.flops * (totals.tokens - totals.useful_tokens) // totals.tokens
    split[USEFUL] = totals.flops - split.get(PADDING, 0)
    if totals.hardware_flops is not None:
        split[RECOMPUTED] = totals.hardware_flops - totals.flops
    if clock_loss is not None:
        split[CLOCK] = round(clock_loss)
    split[REST] = sum(whole.values()) - sum(split.values())
    return split


def _clock_loss(stretches: list[_Stretch]) -> float | None:
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
    """Training's device-seconds shared out as its FLOPs are."""
    training = device_seconds[TRAINING]
    inside = {kind: flops for kind, flops in whole.items() if kind in (CLOCK, RECOMPUTED, REST, PADDING, USEFUL)}
    total = sum(inside.values())
    shared = {kind: seconds for kind, seconds in device_seconds.items() if kind != TRAINING}
    return {**shared, **{kind: training * flops / total for kind, flops in inside.items() if total}}


def _money(kind: str, device_seconds: float, price: float | None) -> float | None:
    if price is None:
        return None
    return 0.0 if kind == INTERRUPTION else device_seconds / units.SECONDS_PER_HOUR * price
