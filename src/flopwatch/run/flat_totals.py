"""Totals and windows whose counts are not apart, as checkpoints, JSON reports and run files hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from flopwatch.run.counts import AMOUNTS, COUNTED, Counts
from flopwatch.run.records import Totals, known_fields

_ADDED_LATER = {"hardware_flops": None, "useful_tokens": None}  # the first flopwatch did not count these


def flat(totals: Totals) -> dict[str, Any]:
    """Return totals with their counts among their other values."""
    values = asdict(totals)
    return {**values.pop("counts"), **values}


def totals_from(state: Mapping[str, Any]) -> Totals:
    """The totals of a checkpoint; entries of other versions are left out."""
    values = nested(state)
    counts = Counts(**known_fields(Counts, values.pop("counts")))
    return Totals(**known_fields(Totals, values), counts=counts)


def nested(totals: Mapping[str, Any], absent: Mapping[str, Any] = _ADDED_LATER) -> dict[str, Any]:
    """Values with their counts apart.

    Args:
        totals: Flat ones.
        absent: What those are that they lack.
    """
    values = dict(totals)
    counts = dict(absent)
    for name in COUNTED:
        if name in values:
            counts[name] = values.pop(name)
    values["counts"] = counts
    return values


def nested_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of a run file with its counts apart."""
    values = nested(record, dict.fromkeys(AMOUNTS)) if record["kind"] == "window" else dict(record)
    totals = record.get("totals", {} if record["kind"] == "start" else None)
    if isinstance(totals, Mapping):
        values["totals"] = nested(totals)
    return values
