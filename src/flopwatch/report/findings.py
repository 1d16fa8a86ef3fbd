"""What to do about a run's efficiency: what each loss would give back, the largest first, with its evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from flopwatch.report.anomalies import Anomalies, Dip
from flopwatch.report.finding import Finding, StepLoss
from flopwatch.report.waterfall import Part
from flopwatch.run import rates
from flopwatch.run.time_kinds import (
    BY_A_PROFILE,
    CLOCK,
    PADDING,
    RECOMPUTED,
    REST,
    TIME_KINDS,
    TRAINING,
    USEFUL,
    kinds_at,
)

MOST = 5
_LEAST = 0.02  # a loss of less is not worth a sentence
_STEPS = (TRAINING, *kinds_at("part of steps"))
_LOOP = ("data_wait", *_STEPS)
# Kinds of advice by a profile that say more of a part than its own words.
_ADVICE_ON: Mapping[str, set[str]] = MappingProxyType(
    {
        "matmul_below_peak": {"odd_shapes", "slow_precision"},
        "attention_below_peak": {"odd_head_size", "unfused_attention"},
        "other_compute": {"unfused_elementwise", "unfused_attention"},
    }
)
_TIME = tuple(name for name in kinds_at("outside", "between steps", "not booked") if TIME_KINDS[name].advice)


@dataclass(frozen=True)
class Evidence:
    """The inputs of the findings.

    `seconds` is wall time by kind, `wall_seconds` all of it, `loop_seconds` time in the training loop; MFUs as in the
    report; `step_losses` are of the time of a step.
    """

    seconds: Mapping[str, float]
    wall_seconds: float
    data_wait_fraction: float | None
    parts: Sequence[Part]
    anomalies: Anomalies
    mfu: float | None
    run_mfu: float | None
    loop_seconds: float
    step_losses: Sequence[StepLoss] = ()


def findings(evidence: Evidence) -> tuple[Finding, ...]:
    """At most five, ordered by what they would give back of the run's MFU, else by their share.

    None where the MFU is above 1: what it is held against is wrong then.
    """
    if evidence.mfu is not None and evidence.mfu > 1:
        return ()
    found = [*_of_time(evidence), *_of_data(evidence), *_inside(evidence), *_of_ranks(evidence), *_of_dips(evidence)]
    found += [*_of_steps(evidence), *_of_the_rest(evidence)]
    worthy = [each for each in found if (each.share if each.of_run is None else each.of_run) >= _LEAST]
    largest = max((each.of_run or 0.0 for each in worthy), default=0.0)
    return tuple(sorted(worthy, key=lambda each: _place(each, evidence, largest))[:MOST])


def _place(finding: Finding, evidence: Evidence, largest: float) -> tuple[bool, float, float]:
    """What gives back most comes first; before it the largest loss, even if what it gives back is not known."""
    is_unknown = finding.kind == REST or finding.kind in BY_A_PROFILE
    first = is_unknown and finding.of_run == largest
    return not first, 0.0 if is_unknown else -_weight(finding, evidence), -finding.share


def _weight(finding: Finding, evidence: Evidence) -> float:
    """What it would give back; less padding would give back useful work, though no MFU."""
    return finding.run_mfu_gain if finding.run_mfu_gain is not None else finding.share * (evidence.run_mfu or 0.0)


def _gain(value: float | None, share: float) -> float | None:
    """What a ratio to time gains when so much of the time is no longer lost; `None` where it would be above 1."""
    return None if value is None or value > 1 - share else value * share / (1 - share)


def _flops(evidence: Evidence) -> dict[str, int]:
    return {part.kind: part.flops for part in evidence.parts if part.flops is not None}


def _of_run(evidence: Evidence, kind: str) -> float:
    """Share of what the devices could have done or, where that is not known, of wall time."""
    flops = _flops(evidence)
    whole = sum(flops.values())
    if whole > 0:
        return flops.get(kind, 0) / whole
    return _of_wall(evidence, evidence.seconds.get(kind, 0.0))


def _of_wall(evidence: Evidence, seconds: float) -> float:
    return rates.fraction(seconds, evidence.wall_seconds) or 0.0


def _loop_of_run(evidence: Evidence) -> float:
    """Return the training loop's share of the run, waiting for data included."""
    loop = sum(_of_run(evidence, kind) for kind in _LOOP)
    if loop > 0:
        return min(loop, 1.0)
    return min(_of_wall(evidence, evidence.loop_seconds), 1.0)


def _of_time(evidence: Evidence) -> Iterator[Finding]:
    for kind in _TIME:
        share = _of_wall(evidence, evidence.seconds.get(kind, 0.0))
        of_run = _of_run(evidence, kind)
        yield Finding(kind, share, None, _gain(evidence.run_mfu, of_run), of_run=of_run)


def _of_data(evidence: Evidence) -> Iterator[Finding]:
    share = evidence.data_wait_fraction
    if share is not None:
        yield replace(_in_loop(evidence, "data_wait", share), of_run=_of_run(evidence, "data_wait") or None)


def _in_loop(evidence: Evidence, kind: str, share: float, detail: str | None = None) -> Finding:
    """A loss of a share of the training loop: of the run it is as much less as the loop is of the run."""
    of_run = share * _loop_of_run(evidence)
    return Finding(kind, share, _gain(evidence.mfu, share), _gain(evidence.run_mfu, of_run), detail)


def _inside(evidence: Evidence) -> Iterator[Finding]:
    """Of training steps the clock, of hardware FLOPs recomputation, of model FLOPs padding."""
    flops = _flops(evidence)
    useful = flops.get(USEFUL)
    if useful is None:
        return
    padding, again = flops.get(PADDING, 0), flops.get(RECOMPUTED, 0)
    model = useful + padding
    training = sum(flops.get(kind, 0) for kind in _STEPS)
    if training <= 0 or model <= 0:
        return
    loop = training + flops.get("data_wait", 0)
    shares = {
        CLOCK: flops.get(CLOCK, 0) / training,
        RECOMPUTED: rates.fraction(again, model + again) or 0.0,
    }
    # What was recomputed ran as fast as the rest, so it took its share of the time of training steps.
    of_loop, of_run = training / loop, training / sum(flops.values())
    for kind, share in shares.items():
        gains = _gain(evidence.mfu, share * of_loop), _gain(evidence.run_mfu, share * of_run)
        yield Finding(kind, share, *gains, of_run=_of_run(evidence, kind))
    yield Finding(PADDING, padding / model, None, None, of_run=_of_run(evidence, PADDING))


def _of_ranks(evidence: Evidence) -> Iterator[Finding]:
    slow = evidence.anomalies.slow_rank
    if slow is not None:
        yield _in_loop(evidence, "slow rank", slow.share * (1 - 1 / slow.ratio), str(slow.rank))


def _of_dips(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for the dips that nothing else explains."""
    dips = [each for each in evidence.anomalies.dips if each.cause in (None, "pause")]
    lost = rates.fraction(sum(_unexplained(each) for each in dips), evidence.loop_seconds)
    if dips and lost is not None:
        yield _in_loop(evidence, "dips", lost, str(len(dips)))


def _unexplained(dip: Dip) -> float:
    return dip.slower * dip.seconds * (1 - sum(each.share for each in dip.causes))


def _of_steps(evidence: Evidence) -> Iterator[Finding]:
    """What phases and a profile tell, of the time of a step; recomputation is told of by its FLOPs already."""
    known = _flops(evidence).get(RECOMPUTED)
    for loss in evidence.step_losses:
        if loss.kind == "recomputation" and known:
            continue
        found = replace(_in_loop(evidence, loss.kind, loss.share), evidence=loss.evidence, change=loss.change)
        # In another precision steps are held against another peak.
        yield replace(found, mfu_gain=None, run_mfu_gain=None) if loss.kind == "slow_precision" else found


def _of_the_rest(evidence: Evidence) -> Iterator[Finding]:
    """What nothing explains, where the advice is to find out; and parts of it of which a profile has no advice."""
    advised = {loss.kind for loss in evidence.step_losses}
    for kind in (REST, *BY_A_PROFILE):
        if kind in _flops(evidence) and TIME_KINDS[kind].advice and not advised & _ADVICE_ON.get(kind, set()):
            of_run = _of_run(evidence, kind)
            yield Finding(kind, of_run, None, None, of_run=of_run)
