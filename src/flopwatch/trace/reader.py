"""A trace file as columns of numbers: what ran on the device, who launched it, and inside which operators.

Times are whole nanoseconds, so that sums of them are exact. Of a file's text only names and shapes are kept, once each.
Of a trace with more events than memory should hold the first steps alone are kept.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, compress
from pathlib import Path
from typing import Any

from flopwatch.errors import LargeTraceError, TraceError
from flopwatch.trace.json_events import ALL, Facts, Limits, events_of

NONE = -1
KERNEL, COPY = 0, 1
_DEVICE_KINDS = {
    **dict.fromkeys(("kernel", "concurrent_kernel"), KERNEL),
    **dict.fromkeys(("gpu_memcpy", "gpu_memset", "memcpy", "memset"), COPY),
}
_LAUNCHES = ("runtime", "cuda_runtime", "cuda_driver", "hip_runtime", "xpu_runtime", "xpu_driver")
_OPERATORS = ("cpu_op", "operator", "user_annotation")
_DEVICES, _JOB = _FACTS = ("deviceProperties", "distributedInfo")
_STEP = "ProfilerStep"
_LONGEST_NAME = 4000
_MOST_EVENTS, _MOST_CALLS = 2_000_000, 100_000  # that are kept: some 0.3 GB with what is made of them, and 0.1 GB
_FARTHEST = 2**53  # microseconds; beyond it floats cannot tell two events apart


def _column() -> array[int]:
    return array("q")


@dataclass
class Columns:
    """Events of one kind: their times in nanoseconds, and the index of their name."""

    start: array[int] = field(default_factory=_column)
    end: array[int] = field(default_factory=_column)
    name: array[int] = field(default_factory=_column)

    def __len__(self) -> int:
        return len(self.start)

    def keep(self, mask: bytearray) -> None:
        """Drop the events for which a mask has no 1."""
        for name, column in vars(self).items():
            setattr(self, name, array("q", compress(column, mask)))

    def add(self, *values: int) -> None:
        """Append an event: a value for each column, in order."""
        for column, value in zip(vars(self).values(), values, strict=True):
            column.append(value)


@dataclass
class DeviceEvents(Columns):
    """Kernels and copies: of which kind, on which device and stream, and what links them to the host."""

    kind: array[int] = field(default_factory=_column)
    where: array[int] = field(default_factory=_column)
    stream: array[int] = field(default_factory=_column)
    correlation: array[int] = field(default_factory=_column)
    external: array[int] = field(default_factory=_column)


@dataclass
class Launches(Columns):
    """Calls of the runtime: their thread, and the correlation that what they launched has, too."""

    thread: array[int] = field(default_factory=_column)
    correlation: array[int] = field(default_factory=_column)


@dataclass
class Operators(Columns):
    """Operators and annotations (1 or 0): their thread, links to device events and forward, and the call's index."""

    thread: array[int] = field(default_factory=_column)
    external: array[int] = field(default_factory=_column)
    forward_thread: array[int] = field(default_factory=_column)
    sequence: array[int] = field(default_factory=_column)
    call: array[int] = field(default_factory=_column)
    annotation: array[int] = field(default_factory=_column)


@dataclass(frozen=True)
class Call:
    """What an operator was called with, as far as the profiler recorded it.

    Attributes:
        shapes: Sizes of each argument; empty for one that is no tensor.
        types: Their types, such as "c10::BFloat16".
        values: Text of each argument that is no tensor, such as "[16, 16]"; empty in older traces.
    """

    shapes: tuple[Any, ...] = ()
    types: tuple[str, ...] = ()
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Collective:
    """What a communication kernel says of itself: its process group, its name and its number within the group."""

    group: str
    name: str
    number: int


@dataclass(frozen=True)
class Step:
    """A step's mark: its times in nanoseconds, its name, and the device or the thread that it is on, else -1."""

    start: int
    end: int
    name: str
    where: int = NONE
    thread: int = NONE


@dataclass
class Trace:
    """A trace of one rank.

    Attributes:
        path: The file.
        device: What ran on devices.
        launches: What launched it.
        operators: Operators and annotations of the host.
        device_steps: Marks of the steps on devices, maybe on several streams each.
        host_steps: Marks of the steps on the host.
        names: Names, by index.
        calls: Calls, by index.
        collectives: What is known of communication kernels, by index in `device`.
        device_names: Names of the machine's devices, by index.
        rank: This rank; `None` outside of a job.
        world_size: Ranks of the job.
        left_out: Events without a usable time.
        steps_left_out: Steps at the end of a large trace that are not kept.
        has_other_device: Whether something was launched on a device whose events are not read here.
    """

    path: Path
    device: DeviceEvents = field(default_factory=DeviceEvents)
    launches: Launches = field(default_factory=Launches)
    operators: Operators = field(default_factory=Operators)
    device_steps: list[Step] = field(default_factory=list)
    host_steps: list[Step] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=lambda: [Call()])
    collectives: dict[int, Collective] = field(default_factory=dict)
    device_names: dict[int, str] = field(default_factory=dict)
    rank: int | None = None
    world_size: int | None = None
    left_out: int = 0
    steps_left_out: int = 0
    has_other_device: bool = False


def read(path: Path, limits: Limits = ALL) -> Trace:
    """Read a trace file, gzipped or not, as a stream.

    Args:
        path: The file.
        limits: What is read at most.

    Raises:
        LargeTraceError: If it is larger than that, or one step alone has too many events to be kept.
        TraceError: If it cannot be read, is damaged, or has neither device events nor operators.
    """
    facts: Facts = dict.fromkeys(_FACTS)
    reading = _Reading(Trace(path))
    try:
        for event in events_of(path, facts, limits):
            reading.take(event)
    except RecursionError:
        raise TraceError(f"{path}: expected a trace of torch.profiler, got JSON nested too deep") from None
    reading.end()
    trace = reading.trace
    _take_facts(trace, facts)
    if not len(trace.device) and not len(trace.operators):
        told = f", and {trace.left_out:,} without a usable time" if trace.left_out else ""
        raise TraceError(f"{path}: expected kernels or operators of torch.profiler, got a trace without any{told}")
    return trace


class _Reading:
    """Sorts events into the columns of a trace."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._names: dict[str, int] = {}
        self._calls: dict[str, int] = {}
        self._threads: dict[tuple[str, str], int] = {}
        self._until, self._kept = math.inf, 0  # events that start later are not kept
        self._takers: dict[str, Callable[[Facts, Facts, int, int], None]] = {
            **dict.fromkeys(_DEVICE_KINDS, self._take_device),
            **dict.fromkeys(_LAUNCHES, self._take_launch),
            **dict.fromkeys(_OPERATORS, self._take_operator),
            "gpu_user_annotation": self._take_device_mark,
        }

    def take(self, event: Facts) -> None:
        """Keep an event, if it is one that counts."""
        if event.get("ph") != "X":
            return
        category = event.get("cat")
        taker = self._takers.get(category.lower()) if isinstance(category, str) else None
        if taker is None:
            self.trace.has_other_device |= isinstance(category, str) and category.endswith("_runtime")
            return
        start, length = _nanoseconds(event.get("ts")), _nanoseconds(event.get("dur", 0))
        if start is None or length is None or length < 0:
            self.trace.left_out += 1
            return
        if start >= self._until and not str(event.get("name")).startswith(_STEP):
            return
        arguments = event.get("args")
        taker(event, arguments if isinstance(arguments, dict) else {}, start, start + length)
        self._kept += 1
        if self._kept > _MOST_EVENTS:
            self._shed()

    def _shed(self) -> None:
        """Keep what starts in the first half of the time so far, if it is as much as was counted."""
        columns = (self.trace.device, self.trace.launches, self.trace.operators)
        self._kept = sum(map(len, columns))
        if self._kept <= _MOST_EVENTS:
            return
        starts = [each.start for each in columns if len(each)]
        first, last = min(map(min, starts)), max(map(max, starts))
        if first == last:
            raise self._too_large()
        self._until = (first + last) / 2
        masks = [bytearray(start < self._until for start in each.start) for each in columns]
        places, known = list(accumulate(masks[0])), self.trace.collectives.items()
        self.trace.collectives = {places[index] - 1: told for index, told in known if masks[0][index]}
        for each, mask in zip(columns, masks, strict=True):
            each.keep(mask)
        self._kept = sum(map(len, columns))

    def end(self) -> None:
        """Leave out the steps of which not all was kept.

        Raises:
            LargeTraceError: If that leaves none.
        """
        trace = self.trace
        late = {each.name for each in (*trace.host_steps, *trace.device_steps) if each.end > self._until}
        trace.host_steps = [each for each in trace.host_steps if each.name not in late]
        trace.device_steps = [each for each in trace.device_steps if each.name not in late]
        trace.steps_left_out = len(late)
        if self._until < math.inf and not trace.host_steps:
            raise self._too_large()

    def _too_large(self) -> LargeTraceError:
        return LargeTraceError(
            f"{self.trace.path}: expected steps of at most {_MOST_EVENTS:,} events, got more in one step or in"
            " a trace without marks of steps; give the profiler a schedule"
        )

    def _take_device(self, event: Facts, arguments: Facts, start: int, end: int) -> None:
        kind = _DEVICE_KINDS[event["cat"].lower()]
        where = _whole(arguments.get("device", event.get("pid")))
        stream = _whole(arguments.get("stream", event.get("tid")))
        correlation = _whole(arguments.get("correlation"))
        external = _external(arguments)
        if "Collective name" in arguments:
            self.trace.collectives[len(self.trace.device)] = Collective(
                f"{arguments.get('Process Group Name', '')} {arguments.get('Process Group Ranks', '')}"[:_LONGEST_NAME],
                str(arguments["Collective name"])[:_LONGEST_NAME],
                _whole(arguments.get("Seq")),
            )
        self.trace.device.add(start, end, self._name(event), kind, where, stream, correlation, external)

    def _take_launch(self, event: Facts, arguments: Facts, start: int, end: int) -> None:
        correlation = _whole(arguments.get("correlation"))
        if correlation != NONE:
            self.trace.launches.add(start, end, self._name(event), self._thread(event), correlation)

    def _take_operator(self, event: Facts, arguments: Facts, start: int, end: int) -> None:
        if str(event.get("name")).startswith(_STEP):
            self.trace.host_steps.append(Step(start, end, str(event["name"]), thread=self._thread(event)))
            return
        numbers = (_whole(arguments.get(name)) for name in ("Fwd thread id", "Sequence number"))
        mine = self._name(event), self._thread(event), _external(arguments)
        is_annotation = int(event["cat"].lower() == "user_annotation")
        self.trace.operators.add(start, end, *mine, *numbers, self._call(arguments), is_annotation)

    def _take_device_mark(self, event: Facts, arguments: Facts, start: int, end: int) -> None:
        if str(event.get("name")).startswith(_STEP):
            where = _whole(arguments.get("device", event.get("pid")))
            self.trace.device_steps.append(Step(start, end, str(event["name"]), where))

    def _name(self, event: Facts) -> int:
        return _index(self._names, str(event.get("name", ""))[:_LONGEST_NAME], self.trace.names)

    def _thread(self, event: Facts) -> int:
        key = str(event.get("pid")), str(event.get("tid"))
        return self._threads.setdefault(key, len(self._threads))

    def _call(self, arguments: Facts) -> int:
        shapes = arguments.get("Input Dims", arguments.get("Input dims"))
        if not shapes:
            return 0
        types, values = arguments.get("Input type"), arguments.get("Concrete Inputs")
        key = f"{shapes}{types}{values}"
        found = self._calls.get(key)
        if found is None and len(self.trace.calls) > _MOST_CALLS:
            return 0
        if found is None:
            found = self._calls[key] = len(self.trace.calls)
            self.trace.calls.append(Call(_frozen(shapes), _texts(types), _texts(values)))
        return found


def _index(known: dict[str, int], text: str, texts: list[str]) -> int:
    found = known.get(text)
    if found is None:
        found = known[text] = len(texts)
        texts.append(text)
    return found


def _nanoseconds(value: object) -> int | None:
    """Microseconds as whole nanoseconds; `None` if it is no time."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -_FARTHEST < value < _FARTHEST:
        return None
    return round(value * 1000)


def _whole(value: object) -> int:
    """A whole number of a size that a column holds, given as one or as text; else -1."""
    if isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) < 19:
        value = int(value)
    if not isinstance(value, int) or not -(2**63) <= value < 2**63:
        return NONE
    return value


def _external(arguments: Mapping[str, Any]) -> int:
    return _whole(arguments.get("External id", arguments.get("external id")))


def _frozen(shapes: Any, depth: int = 3) -> Any:
    """Sizes as tuples of whole numbers, as deep as a list of tensors goes; a tensor with anything else is empty."""
    if isinstance(shapes, list) and depth:
        sizes = tuple(_frozen(each, depth - 1) for each in shapes)
        return () if len({type(each) for each in sizes}) > 1 else sizes
    return shapes if type(shapes) is int and 0 <= shapes < 2**63 and depth < 2 else ()


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(str(each) for each in values) if isinstance(values, list) else ()


def _take_facts(trace: Trace, facts: Facts) -> None:
    """Read what stands beside the events."""
    devices = facts[_DEVICES]
    for each in devices if isinstance(devices, list) else ():
        if isinstance(each, dict) and isinstance(each.get("name"), str):
            trace.device_names[_whole(each.get("id"))] = each["name"]
    job = facts[_JOB]
    if isinstance(job, dict):
        rank, size = _whole(job.get("rank")), _whole(job.get("world_size"))
        trace.rank = rank if rank >= 0 else None
        trace.world_size = size if size > 0 else None
