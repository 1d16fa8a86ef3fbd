"""The numbers that a logger receives: a row for each, from which logger, live view, dashboard and docs are made.

A section holds at most nine keys, so that a dashboard shows it on one screen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from flopwatch.run import metrics, rates
from flopwatch.run.moment import Moment, as_float, hours

Form = Literal["percent", "share", "count", "duration", "FLOPs", "hours", "usd", "plain"]


@dataclass(frozen=True)
class Chart:
    """Where a dashboard shows a key; keys of one title share a chart. `smoothed` draws a mean beside the values."""

    section: Literal["Efficiency", "Budget", "Hardware", "Where time goes"]
    title: str
    unit: str
    smoothed: bool = False


@dataclass(frozen=True)
class Metric:
    """One key.

    `words` and `heading` are its names in the live view, `form` and `unit` how it is printed there; one that is
    `in_lines` has a column where windows are lines. `absent` says when there is no value.
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


_MFU = Chart("Efficiency", "MFU: of the peak, at the clock, with recomputation", "0 to 1")
_HOURS_LEFT = Chart("Budget", "Hours left, with 80% interval", "hours")
_CLOCK = Chart("Hardware", "SM clock: mean and lowest of all devices", "MHz")
_NO_PEAK = (
    "FLOPs are withheld, or the device or precision has no confirmed peak; the log gives the reason once, and the"
    " report repeats it"
)
_NO_TOTALS = (
    "an earlier process of the run could not count, or the run resumed from a checkpoint without flopwatch's totals"
)
_NO_TOKENS = "the model has no tokens (images), or the batch's shape is unknown"
_NO_BUDGET = "neither a budget nor a Trainer limit is set"
_NO_INTERVAL = "too few windows, or a pace so uneven that the interval would span more than ten times either way"
_NO_CLOCK = "no NVIDIA GPU, or the driver does not report it; `flopwatch gpus` shows what is readable"
_NO_ENERGY = "the driver reports neither energy nor power, or stopped reporting; a MIG slice"
_NEVER = "never"


_TABLE = (
    Metric(
        "perf/mfu",
        lambda at: metrics.mfu(at.window, at.device),
        meaning="model FLOPs / seconds / devices / peak over the window, 0 to 1",
        absent=_NO_PEAK,
        words="MFU",
        heading="MFU",
        form="percent",
        chart=_MFU,
        in_lines=True,
    ),
    Metric(
        "perf/mfu_at_clock",
        lambda at: metrics.mfu_at_clock(at.window, at.device),
        meaning="the same against the peak at the window's mean SM clock: SMs x FLOPs per clock per SM x clock",
        absent="as `perf/mfu`, or fewer than three clock readings in the window while the GPU was not idle, no NVIDIA"
        " GPU, or a MIG slice",
        words="MFU at clock",
        heading="at clock",
        form="percent",
        chart=_MFU,
        in_lines=True,
    ),
    Metric(
        "perf/hfu",
        lambda at: metrics.hfu(at.window, at.device),
        meaning="the same with hardware FLOPs, including activation recomputation",
        absent="as `perf/mfu`, or the FLOPs of activation recomputation are unknown",
        words="HFU",
        heading="HFU",
        form="percent",
        chart=_MFU,
    ),
    Metric(
        "perf/run_mfu",
        lambda at: rates.fraction(at.totals.counts.flops, at.capacity_flops),
        meaning="model FLOPs of the whole run / all wall time since its start / devices / peak",
        absent=f"as `perf/mfu`, or {_NO_TOTALS}",
        words="MFU of the whole run",
        heading="run MFU",
        form="percent",
        chart=Chart("Efficiency", "MFU of the whole run, restarts and pauses included", "0 to 1"),
    ),
    Metric(
        "perf/goodput",
        lambda at: metrics.goodput(at.totals, at.wall_seconds),
        meaning="time in kept training steps / all wall time since the run's start, 0 to 1",
        absent="the run was resumed from a checkpoint without flopwatch's totals",
        words="goodput",
        heading="goodput",
        form="share",
        chart=Chart("Where time goes", "Share of wall time in kept steps", "0 to 1"),
    ),
    Metric(
        "perf/device_tflops_per_sec",
        lambda at: at.device_tflops(),
        meaning="model TFLOP/s of one device over the window",
        absent="FLOPs are withheld",
        words="speed per device",
        heading="TFLOP/s",
        form="plain",
        unit="TFLOP/s",
        chart=Chart("Efficiency", "Speed per device", "TFLOP/s", smoothed=True),
    ),
    Metric(
        "perf/tokens_per_sec",
        lambda at: rates.per_second(at.window.counts.tokens, at.window.seconds),
        meaning="tokens per second of all devices over the window, padding included",
        absent=_NO_TOKENS,
        words="tokens per second",
        heading="tokens/s",
        form="count",
        chart=Chart("Efficiency", "Tokens per second, all devices", "tokens/s", smoothed=True),
        in_lines=True,
    ),
    Metric(
        "perf/samples_per_sec",
        lambda at: rates.per_second(at.window.counts.samples, at.window.seconds),
        meaning="samples (sequences, images, rows) per second of all devices over the window",
        absent="the tensors of a batch share no first dimension",
        words="samples per second",
        heading="samples/s",
        form="count",
        chart=Chart("Efficiency", "Samples per second, all devices", "samples/s", smoothed=True),
    ),
    Metric(
        "perf/step_seconds",
        lambda at: rates.fraction(at.window.seconds, at.window.counts.steps),
        meaning="seconds per optimizer step over the window, without validation and checkpoints",
        absent=_NEVER,
        words="step time",
        heading="step time",
        form="duration",
        chart=Chart("Where time goes", "Seconds per step", "s", smoothed=True),
        in_lines=True,
    ),
    Metric(
        "step/data_wait_frac",
        lambda at: rates.fraction(at.window.data_wait_seconds, at.window.seconds),
        meaning="share of the window that the training loop spent waiting for the data loader",
        absent=_NEVER,
        words="waiting for data",
        heading="data wait",
        form="share",
        chart=Chart("Where time goes", "Share of the loop waiting for data", "0 to 1", smoothed=True),
        in_lines=True,
    ),
    Metric(
        "gpu/sm_clock_mhz",
        lambda at: at.megahertz(at.window.sm_clock_hz),
        meaning="mean SM clock of all devices over the window, idle time left out",
        absent=_NO_CLOCK,
        words="SM clock",
        heading="SM clock",
        form="plain",
        unit="MHz",
        chart=_CLOCK,
        in_lines=True,
    ),
    Metric(
        "gpu/sm_clock_mhz_min",
        lambda at: at.megahertz(at.window.sm_clock_hz_min),
        meaning="lowest SM clock of any device in the window",
        absent="as `gpu/sm_clock_mhz`",
        words="lowest SM clock",
        heading="lowest",
        form="plain",
        unit="MHz",
        chart=_CLOCK,
    ),
    Metric(
        "gpu/throttled_frac",
        lambda at: at.window.throttled_frac,
        meaning="share of the window throttled by power, heat or another device",
        absent="as `gpu/sm_clock_mhz`",
        words="throttled",
        heading="throttled",
        form="share",
        chart=Chart("Hardware", "Share of time throttled", "0 to 1"),
        in_lines=True,
    ),
    Metric(
        "gpu/slowest_rank_ratio",
        lambda at: at.window.slowest_rank_ratio,
        meaning="how many times longer steps take than if the slowest rank were as fast as the mean",
        absent="one process, or a rank did not publish",
        words="slowdown caused by the slowest rank",
        heading="slow rank",
        form="plain",
        unit="x",
        chart=Chart("Hardware", "Slowdown caused by the slowest rank", "times"),
    ),
    Metric(
        "gpu/joules_per_token",
        lambda at: rates.fraction(metrics.joules(at.window), at.window.counts.tokens),
        meaning="energy of the GPUs over the window / its tokens, padding included",
        absent=f"{_NO_ENERGY}; or {_NO_TOKENS}",
        words="energy per token",
        heading="J/token",
        form="plain",
        unit="J",
        chart=Chart("Hardware", "Energy per token", "J", smoothed=True),
    ),
    Metric(
        "gpu/kg_co2",
        lambda at: at.kg_co2(),
        meaning="CO2 of the GPUs' energy so far: kWh x `kg_co2_per_kwh` of the grid",
        absent=f"no `kg_co2_per_kwh`; or {_NO_ENERGY}",
        words="CO2 so far",
        heading="CO2",
        form="plain",
        unit="kg",
        chart=Chart("Hardware", "CO2 of the GPUs' energy so far", "kg"),
    ),
    Metric(
        "budget/flops",
        lambda at: as_float(at.totals.counts.flops),
        meaning="model FLOPs so far, all devices, restarts included",
        absent=f"FLOPs are withheld, or {_NO_TOTALS}",
        words="model FLOPs so far",
        heading="FLOPs",
        form="FLOPs",
        chart=Chart("Budget", "Model FLOPs so far", "FLOPs"),
        in_lines=True,
    ),
    Metric(
        "budget/tokens",
        lambda at: as_float(at.totals.counts.tokens),
        meaning="tokens so far, all devices, restarts included, padding included",
        absent=f"{_NO_TOKENS}; or {_NO_TOTALS}",
        words="tokens so far",
        heading="tokens",
        form="count",
        chart=Chart("Budget", "Tokens so far", "tokens"),
    ),
    Metric(
        "budget/device_hours",
        lambda at: at.device_hours(),
        meaning="devices x hours of the run's processes so far",
        absent=_NEVER,
        words="device-hours so far",
        heading="dev-hours",
        form="plain",
        chart=Chart("Budget", "Device-hours so far", "device-hours"),
    ),
    Metric(
        "budget/kwh",
        lambda at: at.kwh(),
        meaning="energy of the GPUs so far, each counted once, restarts included",
        absent=_NO_ENERGY,
        words="energy so far",
        heading="kWh",
        form="plain",
        unit="kWh",
        chart=Chart("Budget", "Energy of the GPUs so far", "kWh"),
    ),
    Metric(
        "budget/usd",
        lambda at: None if at.usd_per_device_hour is None else at.device_hours() * at.usd_per_device_hour,
        meaning="device_hours x the given price",
        absent="no `usd_per_device_hour`",
        words="cost so far",
        heading="cost",
        form="usd",
        chart=Chart("Budget", "Cost so far", "USD"),
    ),
    Metric(
        "budget/fraction",
        lambda at: at.window.budget_fraction,
        meaning="used share of the budget that will end the run first; another one replaces it only if certain",
        absent=_NO_BUDGET,
        words="share of the budget",
        heading="budget",
        form="percent",
        chart=Chart("Budget", "Share of the budget used", "0 to 1"),
        in_lines=True,
    ),
    Metric(
        "budget/hours_left",
        lambda at: hours(at.window.seconds_left),
        meaning="hours until the budget of budget/fraction runs out, validation and checkpoints included",
        absent=_NO_BUDGET,
        words="time left",
        heading="left",
        form="hours",
        chart=_HOURS_LEFT,
        in_lines=True,
    ),
    Metric(
        "budget/hours_left_low",
        lambda at: hours(at.window.seconds_left_low),
        meaning="lower end of the 80% interval of hours_left",
        absent=f"as `budget/hours_left`, or {_NO_INTERVAL}",
        words="80% interval, low",
        heading="from",
        form="hours",
        chart=_HOURS_LEFT,
    ),
    Metric(
        "budget/hours_left_high",
        lambda at: hours(at.window.seconds_left_high),
        meaning="upper end of the 80% interval of hours_left",
        absent="as `budget/hours_left_low`",
        words="80% interval, high",
        heading="to",
        form="hours",
        chart=_HOURS_LEFT,
    ),
)
METRICS: Mapping[str, Metric] = MappingProxyType({each.key: each for each in _TABLE})


def name(key: str, prefix: str = "") -> str:
    """A key as it is logged, with the user's word before its section."""
    return f"{prefix}/{key}" if prefix else key


def logger_metrics(at: Moment, prefix: str = "") -> dict[str, float]:
    """Return the metrics to log at the end of a window.

    Args:
        at: The window's end.
        prefix: A word put before every section.

    Returns:
        Values by key; a key whose value is unknown is absent.
    """
    values = {name(each.key, prefix): each.value(at) for each in _TABLE}
    return {key: value for key, value in values.items() if value is not None}
