"""Records as lines of JSON, and back: what cannot be of this world is left out."""

from __future__ import annotations

import codecs
import dataclasses
import json
import operator
import typing
from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import cache
from typing import Any

import msgspec

from flopwatch import units
from flopwatch.errors import RunFileError
from flopwatch.run.counts import Counts
from flopwatch.run.flat_totals import nest_record
from flopwatch.run.hyperparameters import recordable
from flopwatch.run.records import (
    SCHEMA,
    Checkpoint,
    Device,
    End,
    Event,
    Hardware,
    Memory,
    Profile,
    Progress,
    Start,
    StepPhases,
    Totals,
    Window,
    Work,
)

_LARGEST_INT = int(units.LARGEST)
_LONGEST_TEXT, _MOST_ADVICE = 2_000, 20
_LONGEST = 1 + 1e-6  # the parts of a step, each rounded
_seconds_of_parts = operator.attrgetter(
    "transfer_seconds", "forward_seconds", "backward_seconds", "clip_seconds", "optimizer_seconds"
)
Record = Start | Device | Hardware | Work | Window | Profile | Progress | Event | Checkpoint | End
KINDS: Mapping[str, type[Any]] = {
    "start": Start,
    "device": Device,
    "hardware": Hardware,
    "work": Work,
    "window": Window,
    "profile": Profile,
    "progress": Progress,
    "event": Event,
    "checkpoint": Checkpoint,
    "end": End,
}
_WITH_TOTALS = (Start, Window, Progress, Checkpoint, End)
_ALWAYS_WRITTEN = ("schema", "totals")
_KIND_OF = {cls: kind for kind, cls in KINDS.items()}


def to_json(record: Record) -> str:
    """One line of JSON, without a line break; fields that hold what they hold by default are left out."""
    return json.dumps({"kind": _KIND_OF[type(record)], **_told(record)}, separators=(",", ":"))


def _told(record: Any) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, default, always in _defaults(typing.cast(Any, type(record))):
        value = getattr(record, name)
        if isinstance(value, Counts):
            told |= dataclasses.asdict(value)
        elif always or value != default:
            told[name] = _plain(value)
    return told


@cache
def _defaults(cls: Hashable) -> tuple[tuple[str, Any, bool], ...]:
    """Name and default of every field, and whether it is written always."""
    found = []
    for each in dataclasses.fields(typing.cast(Any, cls)):
        default = each.default if each.default_factory is dataclasses.MISSING else each.default_factory()
        found.append((each.name, default, default is dataclasses.MISSING or each.name in _ALWAYS_WRITTEN))
    return tuple(found)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _told(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


class _Heading(msgspec.Struct):
    """The kind and schema of the record that a line holds."""

    kind: str
    schema: int = 0


_PARTS: Mapping[Any, type[Any]] = {"Totals": Totals, "Counts": Counts, "Device": Device}
_heading = msgspec.json.Decoder(_Heading)
_decoders = {kind: msgspec.json.Decoder(cls) for kind, cls in KINDS.items()}


def from_json(line: str | bytes) -> Record | None:
    """The record that a line holds, `None` for a kind that this version does not know.

    Raises:
        RunFileError: If the line is not a record, or is from a newer schema.
    """
    line = (line if isinstance(line, bytes) else line.encode(errors="replace")).removeprefix(codecs.BOM_UTF8)
    try:
        heading = _heading.decode(line)
        if heading.kind == "start" and heading.schema > SCHEMA:
            raise RunFileError(
                f"written with schema {heading.schema}, this flopwatch reads up to {SCHEMA}; install a newer flopwatch"
            )
        record = _decoded(line, heading.kind)
    except msgspec.ValidationError as error:
        raise RunFileError(f"not a record of a run file: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RunFileError("not a line of JSON") from None
    if record is not None and not _is_of_this_world(record):
        raise RunFileError(f"not a record of a run file: it holds an amount above {_LARGEST_INT:.0e} or below 0")
    record = _believable(record)
    return typing.cast("Record | None", record if isinstance(record, Window) else _shortened(record))


def _decoded(line: bytes, kind: str) -> Record | None:
    cls = KINDS.get(kind)
    if cls in _WITH_TOTALS:
        values = msgspec.json.decode(line)
        nest_record(values)
        return typing.cast("Record", msgspec.convert(values, cls))
    return None if cls is None else typing.cast("Record", _decoders[kind].decode(line))


def _believable(record: Any) -> Any:
    """A record without what contradicts it: hardware FLOPs below model FLOPs, phases longer than their step."""
    changes: dict[str, Any] = {}
    if isinstance(record, _WITH_TOTALS) and not _agree(record.totals.counts):
        changes["totals"] = dataclasses.replace(record.totals, counts=_agreeing(record.totals.counts))
    if isinstance(record, Window):
        if not _agree(record.counts):
            changes["counts"] = _agreeing(record.counts)
        if record.phases is not None and not _add_up(record.phases):
            changes["phases"] = None
        if record.memory is not None and not _fits(record.memory):
            changes["memory"] = None
    if isinstance(record, Work) and _is_below(record.hardware_flops, record.training_flops):
        changes["hardware_flops"] = None
    return dataclasses.replace(record, **changes) if changes else record


def _agree(counts: Counts) -> bool:
    """Whether no count is above one that it is a part of."""
    return not _is_below(counts.hardware_flops, counts.flops) and (counts.useful_tokens or 0) <= (counts.tokens or 0)


def _agreeing(counts: Counts) -> Counts:
    """Return the counts without what is above or below what it cannot be."""
    if _is_below(counts.hardware_flops, counts.flops):
        counts = dataclasses.replace(counts, hardware_flops=None)
    return counts if _agree(counts) else dataclasses.replace(counts, useful_tokens=None)


def _is_below(amount: int | None, least: int | None) -> bool:
    return amount is not None and least is not None and amount < least


def _add_up(step: StepPhases) -> bool:
    """Whether the phases of a step are parts of it."""
    parts = _seconds_of_parts(step)
    return _is_of_this_world(step) and min(parts) >= 0 and step.seconds > 0 and sum(parts) <= _LONGEST * step.seconds


def _fits(memory: Memory) -> bool:
    """Whether what is held is on a device that has so much."""
    held = max(memory.peak_bytes, memory.reserved_bytes, memory.allocated_bytes)
    return _is_of_this_world(memory) and 0 < memory.total_bytes >= held


def _shortened(record: Any) -> Any:
    """A record whose texts are no longer than anything that flopwatch writes."""
    texts = {each.name: getattr(record, each.name) for each in dataclasses.fields(record)} if record is not None else {}
    long: dict[str, Any] = {
        name: text[:_LONGEST_TEXT] for name, text in texts.items() if isinstance(text, str) and text[_LONGEST_TEXT:]
    }
    if isinstance(record, Start):
        long["device"] = _shortened(record.device)
        long["hyperparameters"] = recordable(record.hyperparameters)
    if isinstance(record, Work):
        long["shape_advice"] = tuple(each[:_LONGEST_TEXT] for each in record.shape_advice[:_MOST_ADVICE])
    return dataclasses.replace(record, **long) if long else record


def _is_of_this_world(record: Any) -> bool:
    """Whether no integer is negative or too large for a float; floats are checked as they are read."""
    more = (*record.conventions.values(), *(record.image_size or ())) if isinstance(record, Work) else ()
    for amount in (*_integers(typing.cast(Any, type(record)))(record), *more):
        if amount is not None and not 0 <= amount < _LARGEST_INT:
            return False
    rows = record.components if isinstance(record, Work) else ()
    return all(_is_of_this_world(row) for row in rows)


@cache
def _integers(cls: Hashable) -> Callable[[Any], tuple[Any, ...]]:
    """Return the integers of a record and of the records inside it."""
    names = list(_integer_names(typing.cast(Any, cls), ""))
    return operator.attrgetter(*names, names[0]) if names else lambda record: ()


def _integer_names(cls: type[Any], path: str) -> Iterator[str]:
    for each in dataclasses.fields(cls):
        if each.type in ("int", "int | None"):
            yield f"{path}{each.name}"
        elif each.type in _PARTS:
            yield from _integer_names(_PARTS[each.type], f"{path}{each.name}.")
