"""What tells runs apart: the hyperparameters that differ between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flopwatch import units
from flopwatch.report.comparison import Entry
from flopwatch.run.hyperparameters import Scalar

MOST_NAMED = 3
_LONGEST = 30  # of a value in a name
_LARGEST_WHOLE = 1e15  # that is written in full


def differing(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Return the names of the hyperparameters that are not the same in all runs that have any, in their order."""
    known = [entry.hyperparameters for entry in entries if entry.hyperparameters]
    names = dict.fromkeys(name for each in known for name in each)
    return tuple(name for name in names if len({_typed(each.get(name)) for each in known}) > 1)


def named_apart(entries: Sequence[Entry]) -> list[Entry]:
    """Return the runs named by the hyperparameters that differ, three of them at most, if each has another name so."""
    names = differing(entries)[:MOST_NAMED]
    made = [_name(entry, names) for entry in entries]
    if not names or len(set(made)) < len(made):
        return list(entries)
    return [replace(entry, name=name) for entry, name in zip(entries, made, strict=True)]


def written(value: Scalar | None) -> str:
    """Return a hyperparameter's value in words: 0.0003 is "0.0003", True is "true"."""
    if value is None:
        return units.UNKNOWN
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if value.is_integer() and abs(value) < _LARGEST_WHOLE else f"{value:g}"


def _name(entry: Entry, names: Sequence[str]) -> str:
    values = {name: written(entry.hyperparameters[name]) for name in names if name in entry.hyperparameters}
    return ", ".join(f"{name} {_cut(value)}" for name, value in values.items()) or entry.name


def _cut(value: str) -> str:
    return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}..."


def _typed(value: Scalar | None) -> tuple[bool, Scalar | None]:
    """Numbers are the same if they are equal; True is not 1."""
    return isinstance(value, bool), value
