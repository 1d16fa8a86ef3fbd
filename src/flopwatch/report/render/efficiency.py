"""The words of what a report finds: where the peak went, what was unusual, what to do, what others reached."""

from __future__ import annotations

from flopwatch import units
from flopwatch.hardware.telemetry import REASONS
from flopwatch.report.anomalies import CauseShare, Dip, Drift, SlowRank
from flopwatch.report.finding import Finding, points_words
from flopwatch.report.published_mfu import Known
from flopwatch.report.report import Report
from flopwatch.run.time_kinds import CLOCK, RECOMPUTED, TIME_KINDS

# What costs a share of what besides time, and what may be done.
_OTHERS = {
    "slow rank": (
        "rank {detail} is usually the slowest and costs {share} of step time",
        "check that node and its data",
    ),
    "dips": (
        "{detail} dips without a known cause cost {share} of training-loop time",
        "check what else used the node, its storage and its network at those times",
    ),
}


_WHOLE = 0.95  # of a dip; what is left is rounding


def part_words(kind: str, *, short: bool = False) -> str:
    """Return the words for a part of the waterfall, or a short label for a chart."""
    known = TIME_KINDS.get(kind)
    if known is None:
        return kind
    return known.short if short else known.words


def _cost_and_advice(kind: str) -> tuple[str, str]:
    known = TIME_KINDS.get(kind)
    return _OTHERS[kind] if known is None else (known.cost, known.advice)


def finding_words(finding: Finding) -> str:
    """Return a finding as one sentence: evidence, what it is worth, what to do."""
    if finding.evidence is not None:
        return f"{finding.evidence[0].upper()}{finding.evidence[1:]}{_worth(finding)}: {finding.change}."
    evidence, advice = _cost_and_advice(finding.kind)
    before, _, after = evidence.partition("{share}")
    evidence = f"{before}{_shares(finding, after)}".format(detail=finding.detail)
    if finding.kind == "dips" and finding.detail == "1":
        evidence = evidence.replace("1 dips without a known cause cost", "a dip without a known cause costs")
    return f"{evidence[0].upper()}{evidence[1:]}{_worth(finding)}: {advice}."


def _shares(finding: Finding, whole: str) -> str:
    """Return the share as the table of parts has it, with the one of a smaller whole behind it."""
    share = units.format_share(finding.share)
    of_run = None if finding.of_run is None else units.format_share(finding.of_run)
    return f"{share}{whole}" if of_run in (None, share) else f"{of_run} of the run ({share}{whole})"


def _worth(finding: Finding) -> str:
    gains = [(finding.mfu_gain, "MFU"), (finding.run_mfu_gain, "run MFU")]
    words = [f"{points} of {name}" for gain, name in gains if (points := points_words(gain)) is not None]
    upper = "up to " if finding.kind in (RECOMPUTED, CLOCK) or finding.evidence is not None else ""
    return f", worth {upper}{' and '.join(words)}" if words else ""


def unusual_lines(report: Report) -> list[str]:
    """Return one sentence per anomaly."""
    found = report.anomalies
    lines = [_dip_words(dip, report.started_at) for dip in found.dips]
    lines += [_drift_words(drift) for drift in found.drifts]
    if found.slow_rank is not None:
        lines.append(_slow_rank_words(found.slow_rank))
    return lines


def _dip_words(dip: Dip, started_at: float) -> str:
    steps = (
        f"Steps {dip.first_step:,} to {dip.last_step:,}"
        if dip.last_step > dip.first_step
        else f"Step {dip.last_step:,}"
    )
    after = units.format_duration(max(dip.started_at - started_at, 0.0))
    words = f"{steps}, {after} after the start, were {units.format_share(dip.slower)} slower than the best stretch"
    words += f" for {units.format_duration(dip.seconds)}"
    if dip.lost_flops is not None:
        words += f", losing {units.format_si(dip.lost_flops, 'FLOPs')}"
    return f"{words}; {_cause_words(dip)}."


def _cause_words(dip: Dip) -> str:
    known = sum(each.share for each in dip.causes)
    if dip.causes and (len(dip.causes) > 1 or known < _WHOLE):
        shares = [f"{units.format_percent(round(each.share, 2))} from {_share_words(each)}" for each in dip.causes]
        return ", ".join(shares) + (", the rest unknown" if known < _WHOLE else "")
    if dip.cause == "data":
        return "waiting for data"
    if dip.cause == "clock":
        reason = REASONS.get(dip.detail or "")
        return f"the clock was lower{f' ({reason})' if reason else ''}"
    if dip.cause == "slow rank":
        return f"rank {dip.detail} was slow"
    if dip.cause == "pause":
        return f"it includes a {dip.detail}"
    return "cause unknown"


def _share_words(each: CauseShare) -> str:
    if each.cause == "data":
        return "waiting for data"
    if each.cause == "clock":
        reason = REASONS.get(each.detail or "")
        return f"a lower clock{f' ({reason})' if reason else ''}"
    return f"slow rank {each.detail}"


def _drift_words(drift: Drift) -> str:
    before, after = units.format_percent(drift.before), units.format_percent(drift.after)
    change = "slower" if drift.after < drift.before else "faster"
    return (
        f"Steps {drift.first_step:,} to {drift.last_step:,} got {change}: from {before} of the median pace in the"
        f" first fifth to {after} in the last."
    )


def _slow_rank_words(slow: SlowRank) -> str:
    longer, often = units.format_share(slow.ratio - 1), units.format_share(slow.share)
    return f"Rank {slow.rank} was the slowest in {often} of windows; steps took {longer} longer in those."


def known_words(known: Known | None) -> str | None:
    """Return a sentence on what published runs reached, or `None`."""
    if known is None:
        return None
    sizes = f"{units.format_count(known.smallest)} to {units.format_count(known.largest)} parameters"
    return (
        f"{known.runs} published runs of {sizes} on this chip reached {units.format_percent(known.low)} to"
        f" {units.format_percent(known.high)}, as counted by their authors ({'; '.join(known.counting)}):"
        f" {'; '.join(known.sources)}."
    )
