"""What the dashboard shows, by the table of metrics: sections and charts, for the workspace view and the W&B report."""

from __future__ import annotations

from dataclasses import dataclass

from flopwatch.run.metric import Chart
from flopwatch.run.metric_table import METRICS
from flopwatch.wandb.live import LOSSES, TOKENS

FLOPS, DEVICE_HOURS, USD = "budget/flops", "budget/device_hours", "budget/usd"


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


# Charts over something else than steps stand after the others of their section.
_OVER = {
    "Loss": (
        Panel("Loss over tokens", LOSSES, "", axis=TOKENS),
        Panel("Loss over FLOPs", LOSSES, "", axis=FLOPS),
        Panel("Loss over device-hours", LOSSES, "", axis=DEVICE_HOURS),
        Panel("Loss over USD", LOSSES, "", axis=USD),
    ),
    "Efficiency": (
        Panel("MFU over tokens", ("perf/mfu",), "0 to 1", axis=TOKENS),
        Panel("MFU over device-hours", ("perf/mfu",), "0 to 1", axis=DEVICE_HOURS),
    ),
}
_ORDER = ("Loss", "Efficiency", "Budget", "Hardware", "Where time goes")


def _panels(section: str) -> tuple[Panel, ...]:
    """The charts of a section by the table of metrics; keys of one title share a chart."""
    charts: dict[Chart, list[str]] = {}
    for metric in METRICS.values():
        if metric.chart.section == section:
            charts.setdefault(metric.chart, []).append(metric.key)
    panels = (Panel(each.title, tuple(keys), each.unit, smoothed=each.smoothed) for each, keys in charts.items())
    return (*panels, *_OVER.get(section, ()))


SECTIONS = tuple(PanelSection(name, _panels(name)) for name in _ORDER)
# Scatter plots with a point for every run: title and key.
ACROSS_RUNS = (("Last validation loss", "loss/validation"), ("Last training loss", "loss/train"))
# What `wandb.live.attach` gives a run at its end.
TABLES = ("time", "components")
PAGE = "report"
