"""The numbers that a logger receives: a row for each, from which logger, live view, dashboard and docs are made.

A section holds at most nine keys, so that a dashboard shows it on one screen.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from flopwatch.run.cost_metrics import COST
from flopwatch.run.metric import Metric
from flopwatch.run.moment import Moment
from flopwatch.run.speed_metrics import SPEED

_TABLE = (*SPEED, *COST)
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
