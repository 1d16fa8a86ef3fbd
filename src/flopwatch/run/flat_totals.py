"""Totals and windows whose counts are not apart, as checkpoints, JSON reports and run files hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from flopwatch.run.counts import AMOUNTS, COUNTED, Counts
from flopwatch.run.records import Totals, known_fields

_ADDED_LATER = {"hardware_flops": None, "useful_tokens": None}  # the first flopwatch did not count these
_UNKNOWN = dict.fromkeys(AMOUNTS)


def flat(totals: Totals) -> dict[str, Any]:
    """Return totals with their counts among their other values."""
    values = asdict(totals)
    return {**values.pop("counts"), **values}


def totals_from(state: Mapping[str, Any]) -> Totals:
    """The totals of a checkpoint; entries of other versions are left out."""
    values = dict(state)
    _nest(values, _ADDED_LATER)
    counts = Counts(**known_fields(Counts, values.pop("counts")))
    return Totals(**known_fields(Totals, values), counts=counts)


def _nest(values: dict[str, Any], absent: Mapping[str, Any]) -> None:
    counts = dict(absent)
    for name in COUNTED:
        if name in values:
            counts[name] = values.pop(name)
    values["counts"] = counts


def nest_record(record: dict[str, Any]) -> None:
    """Put the counts of a record of a run file apart, in place."""
    if record["kind"] == "window":
        _nest(record, _UNKNOWN)
    if record["kind"] == "start":
        record.setdefault("totals", {})
    if isinstance(record.get("totals"), dict):
        _nest(record["totals"], _ADDED_LATER)
