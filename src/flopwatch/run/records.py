"""What a run writes down: frozen records, one JSON object each, that later versions can still read.

A run file holds one `start`, one `work` once the first batch is counted, a `window` about every ten seconds, an `end`;
in between `hardware` once the driver has answered, `event`s, and a `device` where the first batch showed that the
start's was not right. All amounts are in base units (FLOPs, seconds, Hz, J); unknown is left out or null.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec

from flopwatch import units
from flopwatch.model.architecture import ComponentRow
from flopwatch.run.counts import Counted, Counts
from flopwatch.run.hyperparameters import Scalar

SCHEMA = 1
Float = Annotated[float, msgspec.Meta(gt=-units.LARGEST, lt=units.LARGEST)]
Amount = Annotated[float, msgspec.Meta(ge=0, lt=units.LARGEST)]
Positive = Annotated[float, msgspec.Meta(ge=units.SMALLEST, lt=units.LARGEST)]
_BeforeWatching = Literal["measured only", "parameters equal"]  # what older versions wrote
Verification = Literal[
    "verified", "watched", "sampled", "given", "formula only", "disagree", "withheld", _BeforeWatching
]
Status = Literal["finished", "interrupted", "failed", "measuring stopped"]


def known_fields(record: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """What a record has a field for; a newer version may have written more."""
    names = {each.name for each in dataclasses.fields(record)}
    return {name: value for name, value in values.items() if name in names}


@dataclass(frozen=True)
class Device:
    """The hardware that a run used, and the peak behind its MFU.

    `flops_per_clock` is of one whole device at the run's precision; `peak_source` says where the peak is from;
    `boost_clock_hz` is the clock that the datasheet's peak is for.
    """

    name: str
    count: int
    dtype: str | None = None
    peak_flops_per_second: Positive | None = None
    peak_source: str | None = None
    flops_per_clock: Positive | None = None
    sm_count: int | None = None
    uuid: str | None = None
    driver: str | None = None
    boost_clock_hz: Positive | None = None


@dataclass(frozen=True)
class Hardware:
    """What the driver reports about the first rank's GPU.

    `readable` says of each reading "yes", or why it is not to be had; `energy_source` is how energy is known;
    `is_slice` says that it is a MIG slice, whose clocks are those of the whole GPU. A later one replaces it.
    """

    time: Float
    name: str
    uuid: str | None = None
    driver: str | None = None
    is_slice: bool = False
    max_sm_clock_hz: Amount | None = None
    power_limit_watts: Amount | None = None
    energy_source: str | None = None
    readable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Totals(Counted):
    """Sums over a whole run, over all its devices and restarts; `None` once a part of the work could not be counted.

    Work is what was kept: steps that were done again after a restart are counted once, and what was done in vain is in
    `lost_steps`, `lost_flops` and `lost_seconds`. What was spent is all that was spent: `seconds` is wall time of the
    run's processes, without the time between them, `device_seconds` is it times devices, `joules` the energy of the
    GPUs, each once. `seconds_by_kind` is kept time.
    """

    counts: Counts = field(default_factory=Counts)
    seconds: Amount = 0.0
    device_seconds: Amount = 0.0
    joules: int | None = None
    lost_steps: int | None = 0
    lost_flops: int | None = 0
    lost_seconds: Float = 0.0
    seconds_by_kind: Mapping[str, Float] = field(default_factory=dict)


@dataclass(frozen=True)
class BudgetLine:
    """A budget in its base unit."""

    amount: Positive
    unit: str
    text: str


@dataclass(frozen=True, slots=True)
class BudgetShare:
    """What is used of a budget, and the time left with its 80% interval; `None` for what is not known."""

    fraction: Float | None = None
    seconds_left: Float | None = None
    seconds_left_low: Float | None = None
    seconds_left_high: Float | None = None


@dataclass(frozen=True)
class Start:
    """The first record of a process: what runs, on which devices, and from which totals it continues.

    `started_at` is when the run first started, `time` when this process did (unix seconds). `capacity_flops` is what
    the run's devices could have done at their peak until then. `resumed_from` is the run file of the process whose
    checkpoint this one goes on from, `lost_files` those of processes whose work it was the first to count as lost. By
    `set_back_seconds` its clock is behind the run's first one, as far as it shows.
    """

    run_id: str
    time: Float
    started_at: Float
    step: int
    device: Device
    totals: Totals = field(default_factory=Totals)
    capacity_flops: Float | None = 0.0
    name: str | None = None
    budgets: tuple[BudgetLine, ...] = ()
    precision: str | None = None
    strategy: str | None = None
    usd_per_device_hour: Amount | None = None
    kg_co2_per_kwh: Amount | None = None
    resumed_from: str | None = None
    lost_files: tuple[str, ...] = ()
    set_back_seconds: Amount = 0.0
    batches_per_epoch: int | None = None  # of older files, whose windows have no epochs
    host: str | None = None
    pid: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    hyperparameters: Mapping[str, Scalar] = field(default_factory=dict)
    schema: int = SCHEMA


@dataclass(frozen=True)
class Work:
    """How the work of a batch is counted, shown on the first batch of one device.

    `conventions` are its training FLOPs as others would count them, where all parameters train; `shape_advice` names
    sizes that its matrix products would run faster without.
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
    shape_advice: tuple[str, ...] = ()

    @property
    def training_flops_per_token(self) -> float | None:
        """Return the training FLOPs per token of the first batch."""
        # Older run files know sequences and their length alone.
        tokens = self.tokens if self.method is not None else (self.sequences or 0) * (self.seq_len or 0)
        return self.training_flops / tokens if self.training_flops is not None and tokens else None


@dataclass(frozen=True, slots=True)
class StepPhases:
    """Where one optimizer step of the first rank spent its device's time, and what it ran on that device.

    `seconds` are those of the whole step; what no phase holds is data, callbacks and logging. FLOPs are unknown where
    the forward pass is not told apart; `backward_flops` are without `recomputed_flops`, which ran in the same seconds.
    """

    seconds: Float
    transfer_seconds: Float
    forward_seconds: Float
    backward_seconds: Float
    clip_seconds: Float
    optimizer_seconds: Float
    forward_flops: int | None = None
    backward_flops: int | None = None
    recomputed_flops: int | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """PyTorch's memory on the device that it fills most: bytes, and how often allocations had to be retried so far.

    `peak_bytes` is the most that tensors have held so far, `reserved_bytes` what PyTorch holds of the device at most,
    `allocated_bytes` what tensors hold at the window's end, `total_bytes` the device's memory.
    """

    peak_bytes: int
    reserved_bytes: int
    allocated_bytes: int
    total_bytes: int
    retries: int


@dataclass(frozen=True, slots=True)
class Window(Counted):
    """A stretch of training between two optimizer steps, about ten seconds long; work is of all devices together.

    `ended_at` is unix time. `seconds` is time in the training loop (waiting for data included, validation and
    checkpoints left out); `wall_seconds` is all time; `totals` are the run's at its end. The first window holds the
    first step alone, with its compilation and warm-up. Clocks, throttling, power and tensor activity are
    `telemetry.Telemetry`'s, to within a second: means over all devices, but `clock_samples` is the fewest of any,
    `sm_clock_hz_min` the lowest, `power_watts` all devices'. `slowest_rank_ratio` is how many times longer a step
    takes than if the slowest rank's own part of it (waiting for data, callbacks and, with DDP, the forward pass)
    were as short as the mean rank's. `pause_seconds` are those of validation and checkpoints in it; `epochs` are done.
    `budget_fraction` and the time left are of the budget that will end the run; `budgets` are all of the start's.
    `phases` are of one step in it. `loss` is the mean over up to 64 of the first rank's batches, `validation_loss` the
    last one. In a `profiled` window a profiler made the steps slower, so it says nothing of the run's speed.
    """

    step: int
    ended_at: Float
    seconds: Float
    wall_seconds: Float
    data_wait_seconds: Float
    counts: Counts
    totals: Totals
    first: bool = False
    sm_clock_hz: Amount | None = None
    sm_clock_hz_min: Amount | None = None
    clock_samples: int = 0
    budget_fraction: Amount | None = None
    seconds_left: Float | None = None
    throttled: Mapping[str, Amount] | None = None
    throttled_frac: Amount | None = None
    throttle_counted: bool = False
    slow_clock_frac: Amount | None = None
    power_watts: Amount | None = None
    tensor_active: Amount | None = None
    seconds_left_low: Float | None = None
    seconds_left_high: Float | None = None
    slowest_rank: int | None = None
    slowest_rank_ratio: Amount | None = None
    pause_seconds: Mapping[str, Float] = field(default_factory=dict)
    epochs: Float | None = None
    budgets: tuple[BudgetShare, ...] = ()
    phases: StepPhases | None = None
    memory: Memory | None = None
    loss: Float | None = None
    validation_loss: Float | None = None
    profiled: bool = False


@dataclass(frozen=True)
class Progress:
    """How far a running process has come; stored in a separate file that is overwritten a few times a second."""

    time: Float
    step: int
    totals: Totals


@dataclass(frozen=True)
class Profile:
    """A few steps that a profiler recorded, up to `step`; such steps are a sample, and slower than others.

    `step_seconds` is how long one took, `extra_seconds` what starting and stopping the profiler took. `trace` is where
    the file was written, on that machine.
    """

    step: int
    steps: int
    step_seconds: Amount
    extra_seconds: Amount
    trace: str
    rank: int = 0


@dataclass(frozen=True)
class Event:
    """Something that a reader of the run should know, in one sentence."""

    time: Float
    message: str


@dataclass(frozen=True)
class End:
    """The last record of a process: how it ended, the run's totals and epochs, and this process's seconds by kind."""

    status: Status
    time: Float
    step: int
    totals: Totals
    seconds: Mapping[str, Float]
    epochs: Float | None = None


@dataclass(frozen=True)
class Checkpoint:
    """The run's totals at a step that a checkpoint was saved at, written once all ranks' work up to it is known."""

    step: int
    totals: Totals
