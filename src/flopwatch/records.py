"""What a run writes down: frozen records, one JSON object each, that later versions can still read.

A run file is a list of such objects: one `start`, one `work` once the first batch has been counted, a `window` about
every ten seconds, an `end`; in between `hardware` as soon as the driver has answered, `event`s, and a `device` where
the first batch showed that the start's was not right. All amounts are in base units (FLOPs, seconds, Hz, J); unknown is
null.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, TypeVar

from flopwatch.errors import RunFileError
from flopwatch.tree import ComponentRow

SCHEMA = 1
_LARGEST_INT, _LARGEST_FLOAT = 10**60, 1e60
# "parameters equal" is what flopwatch wrote before it ran cross-checks.
Verification = Literal["verified", "formula only", "measured only", "disagree", "withheld", "parameters equal"]
Status = Literal["finished", "interrupted", "failed"]


@dataclass(frozen=True)
class Device:
    """The hardware that a run used and the peak that its MFU is held against.

    `flops_per_clock` is of one whole device at the run's precision; `peak_source` says where the peak is from;
    `boost_clock_hz` is the clock that the datasheet's peak is for.
    """

    name: str
    count: int
    dtype: str | None = None
    peak_flops_per_second: float | None = None
    peak_source: str | None = None
    flops_per_clock: float | None = None
    sm_count: int | None = None
    uuid: str | None = None
    driver: str | None = None
    boost_clock_hz: float | None = None


@dataclass(frozen=True)
class Hardware:
    """What the driver tells of the first rank's GPU.

    `readable` says of each reading "yes", or why it is not to be had; `energy_source` is how energy is known;
    `is_slice` says that it is a MIG slice, whose clocks are those of the whole GPU. A later one replaces it.
    """

    time: float
    name: str
    uuid: str | None = None
    driver: str | None = None
    is_slice: bool = False
    max_sm_clock_hz: float | None = None
    power_limit_watts: float | None = None
    energy_source: str | None = None
    readable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Totals:
    """Sums over a whole run, over all its devices and restarts; `None` once a part of the work could not be counted.

    Work is what was kept: steps that were done again after a restart are counted once, and what was done in vain is in
    `lost_steps`, `lost_flops` and `lost_seconds`. What was spent is all that was spent: `seconds` is wall time of the
    run's processes, without the time between them, `device_seconds` is it times devices, `joules` the energy of the
    GPUs, each once. `hardware_flops` are `flops` with what activation checkpointing recomputes; `useful_tokens` are
    `tokens` without padding; `seconds_by_kind` is kept time. Unknown in files that were written without them.
    """

    flops: int | None = 0
    tokens: int | None = 0
    samples: int | None = 0
    batches: int = 0
    steps: int = 0
    seconds: float = 0.0
    device_seconds: float = 0.0
    hardware_flops: int | None = None
    useful_tokens: int | None = None
    joules: int | None = None
    lost_steps: int | None = 0
    lost_flops: int | None = 0
    lost_seconds: float = 0.0
    seconds_by_kind: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class BudgetLine:
    """A budget in its base unit."""

    amount: float
    unit: str
    text: str


@dataclass(frozen=True)
class Start:
    """The first record of a process: what is about to run, on what, and from which totals it goes on.

    `started_at` is when the run first started, restarts included; `time` is when this process did (unix seconds).
    `capacity_flops` is what the run's devices could have done at their peak before this process started, the time
    between processes included. `resumed_from` is the run file of the process whose checkpoint this one goes on from;
    `lost_files` are those of processes that went on from the same one and ended before they saved another.
    """

    run_id: str
    time: float
    started_at: float
    step: int
    device: Device
    totals: Totals = field(default_factory=Totals)
    capacity_flops: float | None = 0.0
    name: str | None = None
    budgets: tuple[BudgetLine, ...] = ()
    precision: str | None = None
    strategy: str | None = None
    usd_per_device_hour: float | None = None
    resumed_from: str | None = None
    lost_files: tuple[str, ...] = ()
    batches_per_epoch: int | None = None
    host: str | None = None
    pid: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    schema: int = SCHEMA


@dataclass(frozen=True)
class Work:
    """How the work of a batch is counted, shown on the first batch of one device.

    `conventions` are its training FLOPs as others would count them, where all parameters train.
    """

    verification: Verification
    note: str
    model_type: str | None = None
    parameters: int | None = None
    active_parameters: int | None = None
    attention: str | None = None
    sequences: int | None = None
    seq_len: int | None = None
    forward_flops: int | None = None
    training_flops: int | None = None
    components: tuple[ComponentRow, ...] = ()
    method: Literal["config", "measured"] | None = None
    trainable_parameters: int | None = None
    hardware_flops: int | None = None
    tokens: int | None = None
    source_len: int | None = None
    image_size: tuple[int, ...] | None = None
    conventions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Window:
    """A stretch of training between two optimizer steps, about ten seconds long; work is of all devices together.

    `seconds` is time in the training loop (waiting for data included, validation and checkpoints left out);
    `wall_seconds` is all time; `totals` are the run's at its end. The first window holds the first step alone, with its
    compilation and warm-up. Clocks, throttling, power and tensor activity are `telemetry.Telemetry`'s, to within a
    second: means over all devices, but `clock_samples` is the fewest of any, `sm_clock_hz_min` the lowest,
    `power_watts` all devices'. `slowest_rank_ratio` is how many times longer a step takes than if the slowest rank's
    own part of it (waiting for data, callbacks and, with DDP, the forward pass) were as short as the mean rank's.
    `pause_seconds` are those of validation and checkpoints in it; the time left lies between `seconds_left_low` and
    `seconds_left_high` four times out of five.
    """

    step: int
    ended_at: float
    seconds: float
    wall_seconds: float
    data_wait_seconds: float
    steps: int
    batches: int
    flops: int | None
    tokens: int | None
    samples: int | None
    totals: Totals
    first: bool = False
    sm_clock_hz: float | None = None
    sm_clock_hz_min: float | None = None
    clock_samples: int = 0
    budget_fraction: float | None = None
    seconds_left: float | None = None
    hardware_flops: int | None = None
    useful_tokens: int | None = None
    throttled: Mapping[str, float] | None = None
    throttled_frac: float | None = None
    throttle_counted: bool = False
    slow_clock_frac: float | None = None
    power_watts: float | None = None
    tensor_active: float | None = None
    seconds_left_low: float | None = None
    seconds_left_high: float | None = None
    slowest_rank: int | None = None
    slowest_rank_ratio: float | None = None
    pause_seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """How far a running process has come, in a file of its own that is written over a few times a second."""

    time: float
    step: int
    totals: Totals


@dataclass(frozen=True)
class Event:
    """Something that a reader of the run should know, in one sentence."""

    time: float
    message: str


@dataclass(frozen=True)
class End:
    """The last record of a process: how it ended, the run's totals and this process's seconds by kind."""

    status: Status
    time: float
    step: int
    totals: Totals
    seconds: Mapping[str, float]


Record = Start | Device | Hardware | Work | Window | Progress | Event | End
KINDS: Mapping[str, type[Any]] = {
    "start": Start,
    "device": Device,
    "hardware": Hardware,
    "work": Work,
    "window": Window,
    "progress": Progress,
    "event": Event,
    "end": End,
}
_KIND_OF = {cls: kind for kind, cls in KINDS.items()}
_T = TypeVar("_T")


def to_json(record: Record) -> str:
    """One line of JSON, without a line break."""
    return json.dumps({"kind": _KIND_OF[type(record)], **dataclasses.asdict(record)}, separators=(",", ":"))


def from_json(line: str) -> Record | None:
    """The record that a line holds, `None` for a kind that this version does not know.

    Raises:
        RunFileError: If the line is not a record, or is from a newer schema.
    """
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        raise RunFileError("not a line of JSON") from None
    if not isinstance(values, dict) or not isinstance(values.get("kind"), str):
        raise RunFileError("not a record of a run file")
    cls = KINDS.get(values["kind"])
    if cls is None:
        return None
    if cls is Start and isinstance(values.get("schema"), int) and values["schema"] > SCHEMA:
        raise RunFileError(
            f"written with schema {values['schema']}, this flopwatch reads up to {SCHEMA}; install a newer flopwatch"
        )
    return typing.cast(Record, _build(cls, values))


@cache
def _fields(cls: type[Any]) -> tuple[tuple[str, Any, bool], ...]:
    hints = typing.get_type_hints(cls)
    return tuple(
        (
            each.name,
            hints[each.name],
            each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING,
        )
        for each in dataclasses.fields(cls)
    )


def _build(cls: type[_T], values: Mapping[str, Any]) -> _T:
    arguments = {}
    for name, hint, required in _fields(typing.cast(Any, cls)):
        if name in values:
            arguments[name] = _value(hint, values[name], f"{cls.__name__}.{name}")
        elif required:
            raise RunFileError(f"a {cls.__name__} record lacks {name!r}")
    return cls(**arguments)


def _value(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _value(next(arm for arm in typing.get_args(hint) if arm is not type(None)), value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_value(typing.get_args(hint)[0], item, where) for item in value)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return _build(typing.cast(type[Any], hint), value)
    if not _fits(hint, origin, value):
        raise RunFileError(f"{where} holds {str(value)[:60]!r}, which is not a {getattr(hint, '__name__', hint)}")
    return value


def _fits(hint: Any, origin: Any, value: Any) -> bool:
    if origin is Literal:
        return value in typing.get_args(hint)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        inner = typing.get_args(hint)[1]
        return isinstance(value, dict) and all(_fits(inner, None, item) for item in value.values())
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, (int, float)) and abs(value) < _LARGEST_FLOAT
    if hint is int:
        return isinstance(value, int) and abs(value) < _LARGEST_INT
    return isinstance(hint, type) and isinstance(value, hint)
