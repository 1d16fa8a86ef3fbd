"""What the dashboard shows, as data: its sections and their charts; the workspace view and the W&B report share it."""

from __future__ import annotations

from dataclasses import dataclass

TOKENS, FLOPS, DEVICE_HOURS = "budget/tokens", "budget/flops", "budget/device_hours"


@dataclass(frozen=True)
class Panel:
    """A chart of metrics over steps or, with `axis`, over another metric; `smoothed` draws a mean beside the values."""

    title: str
    keys: tuple[str, ...]
    unit: str
    axis: str | None = None
    smoothed: bool = False


@dataclass(frozen=True)
class PanelSection:
    """Charts under one heading."""

    name: str
    panels: tuple[Panel, ...]
    is_open: bool = True


SECTIONS = (
    PanelSection(
        "Efficiency",
        (
            Panel(
                "MFU: of the peak, at the clock, with recomputation",
                ("perf/mfu", "perf/mfu_at_clock", "perf/hfu"),
                "0 to 1",
            ),
            Panel("MFU of the whole run, restarts and pauses included", ("perf/run_mfu",), "0 to 1"),
            Panel("Speed of one device", ("perf/device_tflops_per_sec",), "TFLOP/s", smoothed=True),
            Panel("Tokens per second, all devices", ("perf/tokens_per_sec",), "tokens/s", smoothed=True),
            Panel("MFU over tokens", ("perf/mfu",), "0 to 1", axis=TOKENS),
            Panel("MFU over device-hours", ("perf/mfu",), "0 to 1", axis=DEVICE_HOURS),
        ),
    ),
    PanelSection(
        "Budget",
        (
            Panel("Share of the budget used", ("budget/fraction",), "0 to 1"),
            Panel(
                "Hours left, with 80% interval",
                ("budget/hours_left", "budget/hours_left_low", "budget/hours_left_high"),
                "hours",
            ),
            Panel("Model FLOPs so far", (FLOPS,), "FLOPs"),
            Panel("Tokens so far", (TOKENS,), "tokens"),
            Panel("Device-hours so far", (DEVICE_HOURS,), "device-hours"),
            Panel("Energy of the GPUs so far", ("budget/kwh",), "kWh"),
            Panel("Money so far", ("budget/usd",), "USD"),
        ),
    ),
    PanelSection(
        "Hardware",
        (
            Panel("SM clock: mean and lowest of all devices", ("gpu/sm_clock_mhz", "gpu/sm_clock_mhz_min"), "MHz"),
            Panel("Share of time that the clock was held down", ("gpu/throttled_frac",), "0 to 1"),
            Panel("Slowdown by the slowest rank", ("gpu/slowest_rank_ratio",), "times"),
            Panel("Energy per token", ("gpu/joules_per_token",), "J", smoothed=True),
        ),
    ),
    PanelSection(
        "Where time goes",
        (
            Panel("Share of wall time in steps that were kept", ("perf/goodput",), "0 to 1"),
            Panel("Share of the loop waiting for data", ("perf/data_wait_frac",), "0 to 1", smoothed=True),
            Panel("Seconds per step", ("perf/step_seconds",), "s", smoothed=True),
        ),
    ),
)
# What `wandb.live.attach` gives a run at its end.
TABLES = ("time", "components")
PAGE = "report"
