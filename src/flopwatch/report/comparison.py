"""Several runs side by side: what is compared, which value is the best, and what all runs spent together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from flopwatch import units
from flopwatch.errors import WandbError
from flopwatch.report import waterfall
from flopwatch.report.points import Point, between, loss_over_flops, points_of
from flopwatch.report.render.facts import status_words
from flopwatch.report.report import Report
from flopwatch.run import rates
from flopwatch.run.hyperparameters import Scalar
from flopwatch.wandb.live import SUMMARY
from flopwatch.wandb.online import EndedRun
from flopwatch.wandb.rebuilt import rebuild

Form = Literal["percent", "share", "count", "flops", "hours", "kwh", "usd", "seconds", "rate", "loss"]


@dataclass(frozen=True)
class Entry:
    """A run in a comparison; keys of `numbers` come from `MEASURES`, keys of `facts` from `FACTS`; unknown is left out.

    `parts` are shares of what its devices could have done, by the kinds of the waterfall; `points` its time line, and
    `no_points` why there is none; `hyperparameters` those that its module saved.
    """

    name: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, float] = field(default_factory=dict)
    points: tuple[Point, ...] = ()
    hyperparameters: Mapping[str, Scalar] = field(default_factory=dict)
    url: str | None = None
    no_points: str | None = None


@dataclass(frozen=True)
class Measure:
    """A number that runs are compared by: its name, words and form, which end is better, whether it can be summed."""

    name: str
    words: str
    form: Form
    better: Literal["high", "low", None] = None
    is_sum: bool = False


EQUAL_FLOPS = "loss_at_equal_flops"
_NO_CURVE = "no window with both loss and FLOPs is known"
MEASURES = (
    Measure("loss", "loss", "loss", "low"),
    Measure("validation_loss", "validation loss", "loss", "low"),
    Measure(EQUAL_FLOPS, "loss at equal FLOPs", "loss", "low"),
    Measure("mfu", "MFU", "percent", "high"),
    Measure("mfu_at_clock", "MFU at clock", "percent", "high"),
    Measure("hfu", "HFU", "percent"),
    Measure("run_mfu", "run MFU", "percent", "high"),
    Measure("goodput", "goodput", "share", "high"),
    Measure("tokens_per_second", "tokens/s", "count", "high"),
    Measure("tokens_per_usd", "tokens per dollar", "count", "high"),
    Measure("tokens_per_device_hour", "tokens per device-hour", "count", "high"),
    Measure("step_seconds", "step", "seconds", "low"),
    Measure("data_wait", "waiting for data", "share", "low"),
    Measure("throttled", "throttled", "share", "low"),
    Measure("flops", "model FLOPs", "flops", is_sum=True),
    Measure("tokens", "tokens", "count", is_sum=True),
    Measure("device_hours", "device-hours", "hours", is_sum=True),
    Measure("kwh", "energy, kWh", "kwh", is_sum=True),
    Measure("usd", "cost", "usd", is_sum=True),
    Measure("wall_seconds", "wall time", "seconds", is_sum=True),
)
FACTS = {
    "status": "ended",
    "model": "model",
    "parameters": "parameters",
    "device": "device",
    "devices": "devices",
    "dtype": "precision",
    "peak": "peak per device",
    "peak_source": "peak from",
    "attention": "attention",
    "verification": "verification",
    "budget": "budget",
    "driver": "driver",
}


def entry_of(report: Report) -> Entry:
    """Build a comparison entry from a report."""
    totals, work, device = report.totals, report.work, report.device
    device_hours, tokens = totals.device_seconds / units.SECONDS_PER_HOUR, totals.counts.tokens or None
    numbers: dict[str, float | None] = {
        "loss": report.loss,
        "validation_loss": report.validation_loss,
        "mfu": report.mfu,
        "mfu_at_clock": report.mfu_at_clock,
        "hfu": report.hfu,
        "run_mfu": report.run_mfu,
        "goodput": report.goodput,
        "tokens_per_second": report.tokens_per_second,
        "tokens_per_usd": rates.fraction(tokens, report.usd),
        "tokens_per_device_hour": rates.fraction(tokens, device_hours),
        "step_seconds": report.step_seconds,
        "data_wait": report.data_wait_fraction,
        "throttled": report.throttled_frac,
        "flops": totals.counts.flops,
        "tokens": totals.counts.tokens,
        "device_hours": device_hours,
        "kwh": None if totals.joules is None else totals.joules / units.JOULES_PER_KWH,
        "usd": report.usd,
        "wall_seconds": report.wall_seconds,
    }
    facts: dict[str, str | None] = {
        "status": status_words(report),
        "model": work.model_type if work else None,
        "parameters": units.format_count(work.parameters) if work and work.parameters else None,
        "device": device.name,
        "devices": str(device.count),
        "dtype": device.dtype,
        "peak": _peak(device.peak_flops_per_second),
        "peak_source": device.peak_source if device.peak_flops_per_second else None,
        "attention": work.attention if work else None,
        "verification": work.verification if work else None,
        "budget": ", ".join(each.text for each in report.budgets) or None,
        "driver": report.hardware.driver if report.hardware else device.driver,
    }
    shares = zip(report.parts, waterfall.shares(report.parts), strict=True)
    parts = {part.kind: share for part, share in shares if share is not None}
    name = f"{report.name} {report.run_id}" if report.name else report.run_id
    return Entry(name, _known(numbers), _known(facts), parts, report.points, report.hyperparameters)


def entry_of_ended(run: EndedRun) -> Entry:
    """Build a comparison entry from a run's summary and config in W&B, and from the rows of its losses."""
    names = {
        "mfu": "mfu_mean",
        "mfu_at_clock": "mfu_at_clock_mean",
        "hfu": "hfu_mean",
        "run_mfu": "run_mfu",
        "tokens_per_second": "tokens_per_sec_mean",
        "throttled": "throttled_frac_mean",
        "flops": "flops_total",
        "tokens": "tokens_total",
        "device_hours": "device_hours_total",
        "kwh": "kwh_total",
        "wall_seconds": "wall_seconds",
    }
    config = run.config
    parameters, peak = units.amount(config.get("parameters")), units.amount(config.get("peak_flops_per_second"))
    facts = {
        "status": _text(run.summary.get("status")),
        "model": _text(config.get("model_type")),
        "parameters": None if parameters is None else units.format_count(parameters),
        "device": _text(config.get("device")),
        "devices": _text(config.get("device_count")),
        "dtype": _text(config.get("dtype")),
        "peak": _peak(peak),
        "peak_source": _text(config.get("peak_source")) if peak else None,
        "attention": _text(config.get("attention")),
        "verification": _text(config.get("verification")),
        "budget": _text(config.get("budget")),
        "driver": _text(config.get("driver")),
    }
    numbers = {name: units.amount(run.summary.get(key)) for name, key in names.items()}
    for name in ("loss", "validation_loss"):
        numbers[name] = units.number(run.summary.get(f"{name}_last"))
    numbers["tokens_per_device_hour"] = rates.fraction(numbers["tokens"] or None, numbers["device_hours"])
    return Entry(
        run.name,
        _known(numbers),
        _known(facts),
        points=_points(run),
        hyperparameters=run.hyperparameters,
        url=run.url,
        no_points=run.no_rows,
    )


def _points(run: EndedRun) -> tuple[Point, ...]:
    """The points of a run's rows, as far as these tell; of steps that were logged again the last ones."""
    facts = {SUMMARY: run.config}
    try:
        made = rebuild(run.rows, facts, path=Path(run.url), name=run.name, run_id=run.id, status=lambda: None)
    except WandbError:
        return ()
    return tuple(points_of(made))


def without_equal(compared: Sequence[Entry]) -> Mapping[str, list[str]]:
    """Return the runs with a loss but none at the FLOPs that all reached, by the reason; of several runs alone.

    Args:
        compared: As `at_equal_flops` returns them.
    """
    found: dict[str, list[str]] = {}
    reached = equal_flops(compared)
    for entry in compared if len(compared) > 1 else ():
        has_curve = bool(loss_over_flops(entry.points))
        if "loss" not in entry.numbers or EQUAL_FLOPS in entry.numbers or (has_curve and reached is None):
            continue
        why = "its first window ends above that" if has_curve else entry.no_points or _NO_CURVE
        found.setdefault(why, []).append(entry.name)
    return found


def equal_flops(entries: Sequence[Entry]) -> int | None:
    """Return the most model FLOPs that all runs reached whose loss along them is known, if there are several."""
    reached = [curve[-1][0] for curve in (loss_over_flops(entry.points) for entry in entries) if curve]
    return min(reached) if len(reached) > 1 else None


def at_equal_flops(entries: Sequence[Entry]) -> list[Entry]:
    """Return the runs with the loss that each had at the most model FLOPs that all reached, where it is known."""
    flops = equal_flops(entries)
    if flops is None:
        return list(entries)
    losses = [between(loss_over_flops(entry.points), flops) for entry in entries]
    return [
        entry if loss is None else replace(entry, numbers={**entry.numbers, EQUAL_FLOPS: loss})
        for entry, loss in zip(entries, losses, strict=True)
    ]


def best_of(measure: Measure, entries: Sequence[Entry]) -> float | None:
    """Return the best value of a measure, or `None` if runs do not differ."""
    values = [entry.numbers[measure.name] for entry in entries if measure.name in entry.numbers]
    if measure.better is None or len(set(values)) < 2:
        return None
    return max(values) if measure.better == "high" else min(values)


def total_of(measure: Measure, entries: Sequence[Entry]) -> float | None:
    """Return the sum of a measure over all runs, or `None` if one is unknown."""
    values = [entry.numbers.get(measure.name) for entry in entries]
    known = [value for value in values if value is not None]
    return sum(known) if measure.is_sum and len(known) == len(values) else None


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _peak(peak: float | None) -> str | None:
    return None if peak is None else units.format_si(peak, "FLOP/s")


def _text(value: object) -> str | None:
    return None if value is None else str(value)
