"""What was unusual in a run: stretches below its own pace and their cause, a pace that drifts, a rank that is slow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from statistics import median
from typing import Literal

from flopwatch import units
from flopwatch.run import rates
from flopwatch.run.records import Window
from flopwatch.run.run_file import Run

Cause = Literal["data", "clock", "slow rank", "pause"]
_DIP = 0.15  # as much below the best stretch's pace is a dip
_EXPLAINS = 0.5  # a cause explains a dip if it explains as much of it
_TOLD = 0.05  # and is told from this share of it on
_FEWEST_WINDOWS = 8
_STRETCHES = 12  # the best stretch is a twelfth of a process: no luck of a few windows, and hardly a dip moves it
_STRIDES = 8
_AT_EDGE, _SUDDEN = 5, 0.1
_FEWEST_FOR_DRIFT = 40
_DRIFT = 0.05
_SURE, _NO_NOISE = 4.0, 5.0  # standard errors; of the lowest of many windows
_SLOW_RANK, _MOSTLY = 1.05, 0.5
_MOST_DIPS = 20
_SIGMA_OF_MAD = 1.4826


@dataclass(frozen=True)
class CauseShare:
    """A cause and the share of a dip that it explains; `detail` is the rank or the reason of the clock."""

    cause: Cause
    share: float
    detail: str | None = None


@dataclass(frozen=True)
class Dip:
    """Windows in a row that were at least 15% slower than the best stretch of their process, and more than noise.

    `started_at` is in unix seconds, `seconds` are in the training loop, `slower` is the share of the pace that was
    missing, `lost_flops` what would have been done at the best stretch's pace. `cause` is what explains at least half
    of it; `detail` is the rank or the reason of the clock. `causes` are all that explain some of it, the largest first;
    what they leave is not known.
    """

    started_at: float
    seconds: float
    first_step: int
    last_step: int
    slower: float
    lost_flops: int | None
    cause: Cause | None
    detail: str | None = None
    causes: tuple[CauseShare, ...] = ()


@dataclass(frozen=True)
class Drift:
    """A process whose last fifth was slower, or faster, than its first one; paces as shares of its median."""

    first_step: int
    last_step: int
    before: float
    after: float


@dataclass(frozen=True)
class SlowRank:
    """A rank that was the slowest in most windows; steps took `ratio` times as long as with the mean rank's pace."""

    rank: int
    ratio: float
    share: float


@dataclass(frozen=True)
class Anomalies:
    """All that was found; dips by what they cost, the dearest first."""

    dips: tuple[Dip, ...] = ()
    drifts: tuple[Drift, ...] = ()
    slow_rank: SlowRank | None = None


def anomalies(run: Run) -> Anomalies:
    """Look through the windows of every process of a run, warm-up left out."""
    dips: list[Dip] = []
    drifts: list[Drift] = []
    for segment in run.segments:
        windows = [window for window in segment.windows if not window.first]
        paces = [_pace(window) for window in windows]
        known = [(window, pace) for window, pace in zip(windows, paces, strict=True) if pace is not None]
        if len(known) < _FEWEST_WINDOWS:
            continue
        dips += _dips(known, _usual(_best_stretch(known)))
        drifts += _drifts(known, median(pace for _, pace in known))
    dips.sort(key=lambda each: -(each.slower * each.seconds))
    return Anomalies(tuple(dips[:_MOST_DIPS]), tuple(drifts), _slow_rank(run))


@dataclass(frozen=True)
class _Usual:
    """Medians of a process's best stretch."""

    pace: float
    data_wait: float
    clock_hz: float | None
    rank_ratio: float | None


_Known = Sequence[tuple[Window, float]]


def _pace(window: Window) -> float | None:
    """Work per second of the training loop: FLOPs, or what else is known."""
    amount = next(
        (each for each in (window.counts.flops, window.counts.tokens, window.counts.samples) if each is not None), None
    )
    return units.number(rates.per_second(amount, window.seconds))


def _best_stretch(known: _Known) -> _Known:
    """The windows in a row, a twelfth of all, whose median pace is the highest."""
    length = max(len(known) // _STRETCHES, _FEWEST_WINDOWS)
    places = range(0, len(known) - length + 1, max(length // _STRIDES, 1))
    stretches = [known[place : place + length] for place in places]
    return max(stretches, key=lambda stretch: median(pace for _, pace in stretch))


def _usual(stretch: _Known) -> _Usual:
    windows = [window for window, _ in stretch]
    return _Usual(
        pace=median(pace for _, pace in stretch),
        data_wait=median(_data_wait(window) for window in windows),
        clock_hz=_median(windows, lambda window: window.sm_clock_hz),
        rank_ratio=_median(windows, lambda window: window.slowest_rank_ratio),
    )


def _median(windows: Sequence[Window], value: Callable[[Window], float | None]) -> float | None:
    values = [found for window in windows if (found := value(window)) is not None]
    return median(values) if values else None


def _data_wait(window: Window) -> float:
    return rates.fraction(window.data_wait_seconds, window.seconds) or 0.0


def _dips(known: _Known, usual: _Usual) -> Iterator[Dip]:
    if usual.pace <= 0:
        return
    paces = [pace / usual.pace for _, pace in known]
    noise = _noise(paces)
    place = 0
    for is_low, group in groupby(paces, key=lambda pace: pace < 1 - _DIP):
        first, place = place, place + len(list(group))
        if is_low and _is_sudden(paces, first, place):
            dip = _dip([window for window, _ in known[first:place]], usual)
            if dip.slower >= _NO_NOISE * noise / (place - first) ** 0.5:
                yield dip


def _noise(paces: Sequence[float]) -> float:
    """Return the standard deviation of a window's pace, from differences of neighbors, unmoved by dips and drifts."""
    apart = [abs(one - other) / (one + other) for one, other in pairwise(paces) if one + other > 0]
    return 2**0.5 * _SIGMA_OF_MAD * median(apart) if apart else 0.0


def _is_sudden(paces: Sequence[float], first: int, last: int) -> bool:
    """Whether the pace fell, or rose again, at once: what comes and goes by and by is a drift."""
    inside, before, after = paces[first:last], paces[max(first - _AT_EDGE, 0) : first], paces[last : last + _AT_EDGE]
    falls = median(before) - median(inside[:_AT_EDGE]) if before else 0.0
    rises = median(after) - median(inside[-_AT_EDGE:]) if after else 0.0
    return max(falls, rises) > _SUDDEN


def _dip(windows: Sequence[Window], usual: _Usual) -> Dip:
    seconds = sum(window.seconds for window in windows)
    done = sum(_pace_times_seconds(window) for window in windows)
    slower = 1 - done / (usual.pace * seconds)
    flops = [window.counts.flops for window in windows]
    by_flops = all(each is not None for each in flops)
    causes = tuple(_causes(windows, usual, slower))
    cause, detail = _main_cause(windows, causes)
    return Dip(
        started_at=windows[0].ended_at - windows[0].wall_seconds,
        seconds=seconds,
        first_step=windows[0].step - windows[0].counts.steps + 1,
        last_step=windows[-1].step,
        slower=slower,
        lost_flops=round(usual.pace * seconds - done) if by_flops else None,
        cause=cause,
        detail=detail,
        causes=causes,
    )


def _pace_times_seconds(window: Window) -> float:
    return (_pace(window) or 0.0) * window.seconds


def _causes(windows: Sequence[Window], usual: _Usual, slower: float) -> Iterator[CauseShare]:
    """What explains how much of it, the largest first; where causes overlap, only what is left of it."""
    working = 1 - sum(_data_wait(window) for window in windows) / len(windows)
    worked = 1 - usual.data_wait
    kept = working / worked if worked > 0 else 1.0  # of the pace, if waiting were all
    explained: list[tuple[float, Cause, str | None]] = [(1 - kept, "data", None)]
    clock = _median(windows, lambda window: window.sm_clock_hz)
    if clock is not None and usual.clock_hz:
        explained.append(((1 - clock / usual.clock_hz) * kept, "clock", _reason(windows)))
    ratio = _median(windows, lambda window: window.slowest_rank_ratio)
    if ratio and usual.rank_ratio:
        ranks = Counter(window.slowest_rank for window in windows)
        explained.append((1 - usual.rank_ratio / ratio, "slow rank", str(ranks.most_common(1)[0][0])))
    left = 1.0
    for amount, cause, detail in sorted(explained, key=lambda each: -each[0]):
        share = min(amount / slower, left)
        if share >= _TOLD:
            left -= share
            yield CauseShare(cause, share, detail)


def _main_cause(windows: Sequence[Window], causes: Sequence[CauseShare]) -> tuple[Cause | None, str | None]:
    """Return the cause that explains most of a dip, if it explains at least half."""
    if causes and causes[0].share >= _EXPLAINS:
        return causes[0].cause, causes[0].detail
    if len(windows) == 1 and any(windows[0].pause_seconds.values()):
        return "pause", " and ".join(sorted(kind for kind, seconds in windows[0].pause_seconds.items() if seconds))
    return None, None


def _reason(windows: Sequence[Window]) -> str | None:
    shares: Counter[str] = Counter()
    for window in windows:
        shares.update({reason: share for reason, share in (window.throttled or {}).items() if share > 0})
    return shares.most_common(1)[0][0] if shares else None


def _drifts(known: _Known, middle: float) -> Iterator[Drift]:
    """Medians of the first and the last fifth, where they differ by more than paces vary anyway."""
    if len(known) < _FEWEST_FOR_DRIFT or middle <= 0:
        return
    fifth = len(known) // 5
    paces = [pace / middle for _, pace in known]
    before, after = median(paces[:fifth]), median(paces[-fifth:])
    spread = _SIGMA_OF_MAD * median(abs(one - other) for one, other in pairwise(paces))
    if abs(after - before) > max(_DRIFT, _SURE * spread / fifth**0.5):
        yield Drift(known[0][0].step, known[-1][0].step, before, after)


def _slow_rank(run: Run) -> SlowRank | None:
    windows = [
        window
        for segment in run.segments
        for window in segment.windows
        if not window.first and window.slowest_rank is not None and window.slowest_rank_ratio is not None
    ]
    if len(windows) < _FEWEST_WINDOWS:
        return None
    (rank, count), *_ = Counter(window.slowest_rank for window in windows).most_common(1)
    of_rank = [window.slowest_rank_ratio or 1.0 for window in windows if window.slowest_rank == rank]
    ratio, share = sum(of_rank) / len(of_rank), count / len(windows)
    return SlowRank(rank or 0, ratio, share) if ratio >= _SLOW_RANK and share > _MOSTLY else None
