"""The verdict on a run in a few sentences: how good it was, what was paid for, what is worth mending, what is left."""

from __future__ import annotations

from collections.abc import Iterator

from flopwatch import units
from flopwatch.report.finding import Finding, points_words
from flopwatch.report.published_mfu import Known
from flopwatch.report.report import Report
from flopwatch.report.standings import BudgetStanding
from flopwatch.report.waterfall import Part
from flopwatch.run.time_kinds import BY_A_PROFILE, CLOCK, INTERRUPTION, RECOMPUTED, REST, TIME_KINDS, TRAINING, USEFUL

WITHHELD = ("withheld", "disagree")
UNREADABLE_WORK = "the record of how FLOPs were counted is unreadable"
_NO_WORK = "no batch was finished"
_FULL_ATTENTION = "attention in full"
_FEW_WINDOWS = 3  # after warm-up
_MOST_FINDINGS = 3
_HOURS_WITH_COMMAS = 1000
_TOLD_USD = 1.0  # a run that cost less is told in time


def verdict(report: Report) -> tuple[str, ...]:
    """Return the sentences that a report begins with; what is not known has no sentence."""
    sentences = (*_quality(report), *_remark_on_length(report), _paid(report), _worth_mending(report), _left(report))
    return tuple(sentence for sentence in sentences if sentence)


def no_mfu_reason(report: Report) -> str | None:
    """Return why there is no MFU, or `None` if there is one."""
    if report.mfu is not None:
        return None
    if report.work is None:
        return _NO_WORK if not report.points else UNREADABLE_WORK
    if report.work.verification in WITHHELD:
        return report.work.note
    if report.device.peak_flops_per_second is None:
        return report.device.peak_source
    return _no_window_reason(report)


def _no_window_reason(report: Report) -> str:
    steady = [point for point in report.points if not point.first]
    if not steady and report.step > report.each_process[-1].first_step + 1:
        return f"no window ended after the first step (warm-up), although {report.step:,} steps were done"
    if not steady:
        return "no step finished after the first one (warm-up)"
    unknown = sum(point.mfu is None for point in steady)
    return f"the FLOPs or the duration of {unknown:,} of {len(steady):,} windows are unknown"


def device_time(seconds: float) -> tuple[str, str]:
    """Return device-seconds as an amount and the unit that people pay by, below one hour as a duration."""
    if seconds < units.SECONDS_PER_HOUR:
        return units.format_duration(seconds), "device time"
    return hours_words(seconds / units.SECONDS_PER_HOUR), "device-hours"


def hours_words(hours: float | None) -> str:
    """Return device-hours to three digits, without an exponent."""
    if hours is not None and hours >= _HOURS_WITH_COMMAS:
        return f"{hours:,.0f}"
    return "<0.01" if hours is not None and 0 < hours < 0.01 else units.format_plain(hours)


def _quality(report: Report) -> Iterator[str]:
    reason = no_mfu_reason(report)
    if reason is not None:
        yield _sentence(f"No MFU: {reason}")
        yield _sentence(_pace(report))
        return
    yield _sentence(f"{units.format_percent(report.mfu)} MFU{_held_against(report)}")


def _steady_windows(report: Report) -> int:
    return sum(not point.first for point in report.points)


def _remark_on_length(report: Report) -> Iterator[str]:
    windows = _steady_windows(report)
    if 0 < windows < _FEW_WINDOWS:
        yield f"A short run: means are over {windows} window{'' if windows == 1 else 's'} after warm-up."


def _held_against(report: Report) -> str:
    """What an MFU is worth: beside published ones, where it is of the same peak as theirs."""
    source = report.device.peak_source or ""
    if report.mfu is not None and report.mfu > 1:
        return f", which is impossible: check the peak ({source})"
    if source.startswith("measured"):
        return " of a peak measured on this machine: no published number compares with it"
    if not source.startswith("datasheet"):
        return f" of a peak {source}: no published number compares with it"
    if report.known is None:
        return " of the datasheet's peak; no published run of this kind and size on this chip compares with it"
    return _beside(report, report.known)


def _beside(report: Report, known: Known) -> str:
    """Where an MFU lies in the published range, counted as those runs were if their convention is known."""
    theirs = next((each.mfu for each in report.conventions if each.convention == "palm"), None)
    value, note = report.mfu or 0.0, ""
    if all(_FULL_ATTENTION in each for each in known.counting):
        if theirs is not None:
            value, note = theirs, f" ({units.format_percent(theirs)} with full attention, as they count)"
        elif report.work is not None and report.work.attention == "causal":
            note = " with causal attention (they count full attention)"
    where = "below" if value < known.low else "above" if value > known.high else "within"
    low, high = units.format_percent(known.low), units.format_percent(known.high)
    sizes = f"{units.format_count(known.smallest)} to {units.format_count(known.largest)}"
    return f"{note}, {where} the {low} to {high} published for models of {sizes} parameters on this chip"


def _pace(report: Report) -> str:
    amounts = ((report.tokens_per_second, "tokens/s"), (report.samples_per_second, "samples/s"))
    words = [f"{units.format_count(amount)} {unit}" for amount, unit in amounts if amount]
    if report.step_seconds is not None:
        words.append(f"{units.format_duration(report.step_seconds)} per step")
    return ", ".join(words)


def _paid(report: Report) -> str:
    """What was paid for, how much of it did useful work or went into training, and the largest loss."""
    paid = [part for part in report.parts if part.kind != INTERRUPTION]
    good = next((part for part in paid if part.kind in (USEFUL, TRAINING)), None)
    if good is None:
        return f"{units.format_usd(report.usd)} was paid." if _told_usd(report) else ""
    whole = Part("", None, sum(part.device_seconds for part in paid), _told_usd(report))
    did = "did useful work" if good.kind == USEFUL else "went into training steps"
    losses = [part for part in paid if part is not good and part.kind in TIME_KINDS]
    largest = max(losses, key=lambda part: part.device_seconds, default=None)
    words = f"Of {_amount(whole)}, {_amount_alone(good, whole)} {did}"
    if largest is not None:
        words += f"; the largest loss was {TIME_KINDS[largest.kind].words} ({_amount_alone(largest, whole)})"
    return f"{words}."


def _amount(whole: Part) -> str:
    return units.format_usd(whole.usd) if whole.usd else " ".join(device_time(whole.device_seconds))


def _amount_alone(part: Part, whole: Part) -> str:
    """Return a part in the unit in which the whole is told."""
    if whole.usd:
        return units.format_usd(part.usd)
    _, unit = device_time(whole.device_seconds)
    if unit == "device-hours":
        return hours_words(part.device_seconds / units.SECONDS_PER_HOUR)
    return units.format_duration(part.device_seconds)


def _told_usd(report: Report) -> float | None:
    return report.usd if report.usd is not None and report.usd >= _TOLD_USD else None


def _worth_mending(report: Report) -> str:
    if not report.findings or _steady_windows(report) < _FEW_WINDOWS:
        return ""
    costs = {part.kind: part.usd for part in report.parts if part.usd and _told_usd(report)}
    known = [finding for finding in report.findings if finding.kind not in (REST, *BY_A_PROFILE)]
    named = [_mending(finding, costs.get(finding.kind)) for finding in known[:_MOST_FINDINGS]]
    return f"Worth mending: {'; '.join(named)}." if named else ""


def _mending(finding: Finding, usd: float | None) -> str:
    known = TIME_KINDS.get(finding.kind)
    others = {"slow rank": f"slow rank {finding.detail}", "dips": "unexplained dips"}
    name = others.get(finding.kind, finding.kind.replace("_", " ")) if known is None else known.short
    upper = "up to " if finding.kind in (RECOMPUTED, CLOCK) or finding.evidence is not None else ""
    worth = [] if usd is None else [units.format_usd(usd)]
    points = points_words(finding.run_mfu_gain)
    if points is not None:
        worth.append(f"{points} of run MFU")
    elif finding.of_run is not None:
        worth.insert(0, f"{units.format_share(finding.of_run)} of the run")
    return f"{name} ({upper}{', '.join(worth)})" if worth else name


def _left(report: Report) -> str:
    """What is left of the budget that runs out first; nothing once a run has finished."""
    if not report.budgets or report.status == "finished":
        return ""
    first = max(report.budgets, key=_urgency)
    if not first.fraction:
        return ""
    left = first.left or report.seconds_left
    time = f", {units.format_duration(left.middle)} left" if left is not None and left.middle > 0 else ""
    used = f"{units.format_share(first.fraction)} used{time}"
    if first.fraction >= 1:
        return f"The budget of {first.text} is used up."
    if len(report.budgets) == 1:
        return f"Budget of {first.text}: {used}."
    return f"Of {len(report.budgets)} budgets, {first.text} runs out first: {used}."


def _urgency(budget: BudgetStanding) -> tuple[float, float]:
    left = -budget.left.middle if budget.left is not None else float("-inf")
    return left, -1.0 if budget.fraction is None else budget.fraction


def _sentence(words: str) -> str:
    return words if not words or words.endswith(".") else f"{words}."
