"""From the records of a run to its report: plain values, each computed once, for every renderer to print."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from typing import Literal

from flopwatch import units
from flopwatch.model.conventions import CONVENTIONS, DESCRIPTIONS
from flopwatch.report import means
from flopwatch.report.anomalies import Anomalies, anomalies
from flopwatch.report.finding import Finding
from flopwatch.report.findings import Evidence, findings
from flopwatch.report.inside import Inside, ProfiledSteps, inside, memory_use, profile_of, rest_shares
from flopwatch.report.points import Point, losses_of, points_of
from flopwatch.report.published_mfu import Known, known_mfu
from flopwatch.report.standings import BudgetStanding, SecondsLeft, seconds_left, standings
from flopwatch.report.step_losses import step_losses
from flopwatch.report.time_book import Stretch, clock_words, seconds_by_kind, standing, time_book
from flopwatch.report.waterfall import Part, waterfall
from flopwatch.run import metrics, rates
from flopwatch.run.hyperparameters import Scalar
from flopwatch.run.records import Device, Event, Hardware, Start, Status, Totals, Work
from flopwatch.run.run_file import Run, Segment
from flopwatch.run.time_kinds import INTERRUPTION

REPORT_SCHEMA = 1
_NO_ANOMALIES, _UNKNOWN_INSIDE = Anomalies(), Inside()
_NEARLY_ALL = 0.9  # of the parameters
ReportStatus = Status | Literal["killed", "killed or still running"]


@dataclass(frozen=True)
class PlanLine:
    """A planned and an actual number; `form` says what kind of number it is."""

    words: str
    form: str
    planned: float
    actual: float


@dataclass(frozen=True)
class Process:
    """What one process of a run did: on what, with which first batch, and how it went.

    `last_step` is the last step that was kept, `seconds` include what a later process did again.
    """

    started_at: float
    seconds: float
    first_step: int
    last_step: int
    status: ReportStatus
    device: Device
    mfu: float | None
    sequences: int | None
    seq_len: int | None


@dataclass(frozen=True)
class Counted:
    """The run's MFU under another convention, scaled by the first batch's model FLOPs under both."""

    convention: str
    description: str
    flops_ratio: float
    mfu: float | None


@dataclass(frozen=True)
class Report:
    """The efficiency of a run.

    `mfu` and the other means leave out the first window of every process (compilation, warm-up) and all time outside
    the training loop; `run_mfu` leaves out nothing. `seconds` is wall time by kind and adds up to `wall_seconds`; what
    was spent on steps that a restart did again is "lost". `goodput` is the share that went into kept training steps.
    `throttled`, `slow_clock_frac`
    and `tensor_active` are means over the part `telemetry_coverage` of the time in which they were read.
    `parts` are the waterfall: where the peak of all devices over all wall time went. Losses are the last ones known.
    """

    run_id: str
    name: str | None
    status: ReportStatus
    started_at: float
    wall_seconds: float
    step: int
    processes: int
    device: Device
    precision: str | None
    strategy: str | None
    work: Work | None
    totals: Totals
    mfu: float | None
    mfu_at_clock: float | None
    run_mfu: float | None
    hfu: float | None
    tokens_per_second: float | None
    step_seconds: float | None
    data_wait_fraction: float | None
    sm_clock_hz: float | None
    sm_clock_hz_min: float | None
    throttled: Mapping[str, float] | None
    throttled_frac: float | None
    throttle_counted: bool
    slow_clock_frac: float | None
    telemetry_coverage: float | None
    power_watts: float | None
    joules_per_token: float | None
    joules_per_flop: float | None
    tensor_active: float | None
    tensor_mfu: float | None
    hardware: Hardware | None
    usd: float | None
    kg_co2: float | None
    budgets: tuple[BudgetStanding, ...]
    seconds: Mapping[str, float]
    points: tuple[Point, ...]
    events: tuple[Event, ...]
    notes: tuple[str, ...]
    versions: Mapping[str, str]
    goodput: float | None = None
    each_process: tuple[Process, ...] = ()
    parts: tuple[Part, ...] = ()
    anomalies: Anomalies = _NO_ANOMALIES
    findings: tuple[Finding, ...] = ()
    known: Known | None = None
    conventions: tuple[Counted, ...] = ()
    seconds_left: SecondsLeft | None = None
    plan: tuple[PlanLine, ...] = ()
    device_flops_per_second: float | None = None
    samples_per_second: float | None = None
    loss: float | None = None
    validation_loss: float | None = None
    lowest_validation_loss: float | None = None
    inside: Inside = _UNKNOWN_INSIDE
    hyperparameters: Mapping[str, Scalar] = field(default_factory=dict)
    schema: int = REPORT_SCHEMA


def summarize(run: Run, profiled: ProfiledSteps | None = None, profile_note: str | None = None) -> Report:
    """Compute the report of a run.

    Args:
        run: As `runfile.read_run` returns it.
        profiled: The profile of a few of its steps, as `inside.profile_of` returns it.
        profile_note: Why there is none although steps were profiled.
    """
    last = run.segments[-1]
    start = last.start
    totals, step, ended_at = standing(last)
    wall_seconds = max(ended_at - start.started_at, 0.0)
    steady = [
        (segment.start.device, window) for segment in run.segments for window in segment.windows if not window.first
    ]
    windows = [window for _, window in steady]
    seconds_in_loop = sum(window.seconds for window in windows)
    device_hours = totals.device_seconds / units.SECONDS_PER_HOUR
    price = start.usd_per_device_hour
    mfu = means.mean_utilization((window, device.count, device.peak_flops_per_second) for device, window in steady)
    doubt = metrics.doubt(mfu, start.device)
    work = last.work or next((each.work for each in reversed(run.segments) if each.work), None)
    run_mfu = rates.fraction(
        totals.counts.flops, metrics.capacity_flops(start.capacity_flops, ended_at - start.time, start.device)
    )
    seconds = seconds_by_kind(run)
    data_wait = rates.fraction(sum(window.data_wait_seconds for window in windows), seconds_in_loop)
    memory = memory_use([segment.windows for segment in run.segments], step)
    steps = inside(windows, start.device, profiled, memory)
    peak = _reached_peak(start.device, means.mean_clock(windows))
    parts = waterfall(run, None if profiled is None else rest_shares(profiled.trace.first, peak))
    unusual, points = anomalies(run), tuple(points_of(run))
    losses = losses_of(points)
    return Report(
        run_id=start.run_id,
        name=start.name,
        status=_status(last),
        started_at=start.started_at,
        wall_seconds=wall_seconds,
        step=step,
        processes=len(run.segments),
        device=start.device,
        precision=start.precision,
        strategy=start.strategy,
        work=work,
        totals=totals,
        mfu=mfu,
        mfu_at_clock=means.mean_utilization(
            (window, device.count, peak)
            for device, window in steady
            if (peak := means.peak_at_clock(window, device)) is not None
        ),
        run_mfu=run_mfu,
        hfu=means.mean_utilization(
            ((window, device.count, device.peak_flops_per_second) for device, window in steady), hardware=True
        ),
        tokens_per_second=rates.per_second(means.total(window.counts.tokens for window in windows), seconds_in_loop),
        device_flops_per_second=means.mean_utilization((window, device.count, 1.0) for device, window in steady),
        samples_per_second=rates.per_second(means.total(window.counts.samples for window in windows), seconds_in_loop),
        step_seconds=rates.fraction(seconds_in_loop, sum(window.counts.steps for window in windows)),
        data_wait_fraction=data_wait,
        sm_clock_hz=means.mean_clock(windows),
        sm_clock_hz_min=min(
            (each.sm_clock_hz_min for each in windows if each.sm_clock_hz_min is not None), default=None
        ),
        throttled=means.throttled_by_reason(windows),
        throttled_frac=means.mean(windows, lambda window: window.throttled_frac),
        throttle_counted=all(each.throttle_counted for each in windows if each.throttled is not None),
        slow_clock_frac=means.mean(windows, lambda window: window.slow_clock_frac),
        telemetry_coverage=means.coverage(windows),
        power_watts=means.mean(windows, lambda window: window.power_watts),
        joules_per_token=means.energy_of_one(windows, lambda window: window.counts.tokens),
        joules_per_flop=means.energy_of_one(windows, lambda window: window.counts.flops),
        tensor_active=means.mean(windows, lambda window: window.tensor_active),
        tensor_mfu=means.mean_tensor_mfu(steady),
        hardware=next((each.hardware for each in reversed(run.segments) if each.hardware is not None), None),
        usd=None if price is None else device_hours * price,
        kg_co2=_kg_co2(totals, start.kg_co2_per_kwh),
        budgets=standings(last),
        seconds=seconds,
        points=points,
        loss=losses.training,
        validation_loss=losses.validation,
        lowest_validation_loss=losses.lowest_validation,
        events=tuple(event for segment in run.segments for event in segment.events),
        notes=(*run.notes, *(words for words in (clock_words(run), doubt, profile_note) if words)),
        versions=start.versions,
        goodput=metrics.goodput(totals, wall_seconds),
        each_process=tuple(_processes(run)),
        parts=parts,
        anomalies=unusual,
        findings=findings(
            Evidence(
                seconds=seconds,
                wall_seconds=wall_seconds,
                data_wait_fraction=data_wait,
                parts=parts,
                anomalies=unusual,
                mfu=mfu,
                run_mfu=run_mfu,
                loop_seconds=seconds_in_loop,
                step_losses=step_losses(steps, start.device),
            )
        ),
        known=known_mfu(start.device, _compared_parameters(work)),
        conventions=tuple(_conventions(work, mfu)),
        seconds_left=seconds_left(last),
        inside=steps,
        hyperparameters=start.hyperparameters,
    )


def report_of(run: Run) -> Report:
    """Compute the report of a run with what the trace of its profiled steps says, if it is there."""
    return summarize(run, *profile_of(run))


def _reached_peak(device: Device, clock_hz: float | None) -> float | None:
    """The peak at the clock that the device ran at, where that is below the peak's; what is lost so is told apart."""
    if device.peak_flops_per_second is None or clock_hz is None or device.boost_clock_hz is None:
        return device.peak_flops_per_second
    return device.peak_flops_per_second * min(clock_hz / device.boost_clock_hz, 1.0)


def _compared_parameters(work: Work | None) -> int | None:
    """The size that published runs have to be near; they are of language models all of whose parameters train."""
    if work is None or not work.tokens or not work.parameters:
        return None
    is_frozen = work.trainable_parameters is not None and work.trainable_parameters < _NEARLY_ALL * work.parameters
    return None if is_frozen else work.active_parameters or work.parameters


def _kg_co2(totals: Totals, kg_co2_per_kwh: float | None) -> float | None:
    if totals.joules is None or kg_co2_per_kwh is None:
        return None
    return totals.joules / units.JOULES_PER_KWH * kg_co2_per_kwh


def _conventions(work: Work | None, mfu: float | None) -> Iterator[Counted]:
    """What the MFU would read under other conventions, the exact one first."""
    ours = work.training_flops if work is not None else None
    if work is None or not ours:
        return
    for name, flops in work.conventions.items():
        if name in CONVENTIONS and name != "macs":
            ratio = flops / ours
            yield Counted(name, DESCRIPTIONS[name], ratio, None if mfu is None else mfu * ratio)


def _status(segment: Segment) -> ReportStatus:
    return segment.end.status if segment.end else "killed or still running"


def _processes(run: Run) -> Iterator[Process]:
    """The processes of a run; of one that another resumed from, up to the step at which that one began."""
    followers = (*(segment.start for segment in run.segments[1:]), None)
    stretches = time_book(run)[-len(run.segments) :]
    alive: Iterable[float | None] = (_alive_seconds(each) for each in stretches) if stretches else repeat(None)
    for segment, follower, seconds in zip(run.segments, followers, alive, strict=False):
        yield _process(segment, follower, seconds)


def _alive_seconds(stretch: Stretch) -> float | None:
    """Seconds from a process's start to its end, what a later one repeated included; unknown after a clock change."""
    if not stretch.is_whole:
        return None
    return sum(amount for kind, amount in stretch.seconds.items() if kind != INTERRUPTION)


def _process(segment: Segment, follower: Start | None, seconds: float | None) -> Process:
    _, step, ended_at = standing(segment)
    device = segment.start.device
    steady = ((each, device.count, device.peak_flops_per_second) for each in segment.windows if not each.first)
    was_killed = follower is not None and segment.end is None
    return Process(
        started_at=segment.start.time,
        seconds=max(ended_at - segment.start.time, 0.0) if seconds is None else seconds,
        first_step=segment.start.step,
        last_step=step if follower is None else follower.step,
        status="killed" if was_killed else _status(segment),
        device=device,
        mfu=means.mean_utilization(steady),
        sequences=segment.work.sequences if segment.work else None,
        seq_len=segment.work.seq_len if segment.work else None,
    )
