"""A run as far as the rows and the config that W&B has can tell, for runs whose own run file is not at hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flopwatch import units
from flopwatch.errors import WandbError
from flopwatch.hardware.telemetry import FEWEST_SAMPLES
from flopwatch.model.architecture import ComponentRow
from flopwatch.run.counts import UNKNOWN, Counts
from flopwatch.run.hyperparameters import Scalar, recordable
from flopwatch.run.records import Device, End, Start, Status, Totals, Verification, Window, Work
from flopwatch.run.run_file import Run, Segment
from flopwatch.run.window_list import WindowList
from flopwatch.wandb.live import STEP_AXIS, SUMMARY, own_part

_MARK = "perf/step_seconds"
_MEGA, _TERA = units.SI_PREFIXES["M"], units.SI_PREFIXES["T"]
_COUNTED: tuple[Verification, ...] = ("verified", "watched", "sampled", "given", "formula only", "measured only")
_NOTE = (
    "rebuilt from W&B's rows, without flopwatch's run file: FLOPs are exact to 15 digits; wall time by kind, lost"
    " work and the separate processes are unknown"
)


@dataclass
class _Rows:
    """Windows out of rows; where steps were logged again, as after a restart, the last of each is kept."""

    device: Device
    windows: WindowList = field(default_factory=WindowList)
    first: Window | None = None
    again: int = 0
    run_mfu: float | None = None

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a flopwatch row, with keys without a prefix."""
        axis = _whole(row, STEP_AXIS)
        at, pace = _number(row, "_timestamp"), _number(row, _MARK)
        if axis is None or at is None or pace is None:
            return
        restarted = self.windows.last is not None and self.windows.last.step > axis
        if restarted:
            self.again += self.windows.drop_after(axis)
        earlier = self.windows.last
        window = _window(row, axis + 1, at, earlier, self.device, first=restarted or earlier is None)
        self.first = self.first or window
        self.run_mfu = _number(row, "perf/run_mfu")
        self.windows.add(window)


def rebuild(
    rows: Iterable[Mapping[str, Any]],
    config: Mapping[str, Any],
    *,
    path: Path,
    name: str | None,
    run_id: str,
    status: Callable[[], Status | None],
) -> Run:
    """Return the run rebuilt from the logged rows.

    Args:
        rows: All its rows, in order.
        config: The run's config, with what flopwatch wrote into it.
        path: The file or address that it is from.
        name: Its name.
        run_id: Its id.
        status: Says, once the rows are read, how it ended; `None` if it goes on or was killed.

    Raises:
        WandbError: If flopwatch logged nothing to it.
    """
    facts = config.get(SUMMARY)
    known: Mapping[str, Any] = facts if isinstance(facts, Mapping) else {}
    made = _Rows(_device(known))
    for row in rows:
        own = own_part(row)
        if own is not None:
            made.add(own)
    if made.first is None:
        raise WandbError(f"expected a run with flopwatch rows, found none in {path}")
    return _run(made, known, recordable(config), path=path, name=name, run_id=run_id, status=status())


def _run(
    made: _Rows,
    facts: Mapping[str, Any],
    hyperparameters: Mapping[str, Scalar],
    *,
    path: Path,
    name: str | None,
    run_id: str,
    status: Status | None,
) -> Run:
    windows = made.windows.windows()
    first, last = made.first or windows[0], windows[-1]
    started_at = min(first.ended_at - first.totals.seconds, last.ended_at)
    versions = facts.get("versions")
    start = Start(
        run_id=run_id,
        time=started_at,
        started_at=started_at,
        step=0,
        device=made.device,
        capacity_flops=_capacity_before(made, last, started_at),
        name=name,
        versions={str(key): str(value) for key, value in versions.items()} if isinstance(versions, Mapping) else {},
        hyperparameters=hyperparameters,
    )
    end = None if status is None else End(status, last.ended_at, last.step, last.totals, {})
    notes = [_NOTE]
    if made.again:
        notes.append(f"{made.again:,} rows were logged again after a restart; the last of each step is kept")
    return Run(path, (Segment(start, _work(facts), windows, (), end),), tuple(notes))


def _capacity_before(made: _Rows, last: Window, started_at: float) -> float | None:
    """Return the capacity in a logged run MFU beyond the time since the start, or `None` if none was logged.

    It knows of restarts on other devices, of which rows do not tell.
    """
    peak = made.device.peak_flops_per_second
    if not made.run_mfu or last.totals.counts.flops is None or peak is None:
        return None
    return last.totals.counts.flops / made.run_mfu - (last.ended_at - started_at) * made.device.count * peak


def _window(
    row: Mapping[str, Any], step: int, at: float, earlier: Window | None, device: Device, *, first: bool
) -> Window:
    """What a row tells of its window; the first one of a process is not told from what came before it."""
    totals = _totals(row, device)
    steps = step - (earlier.step if earlier is not None else 0)
    seconds = steps * (_number(row, _MARK) or 0.0)
    clock, low = _number(row, "gpu/sm_clock_mhz"), _number(row, "gpu/sm_clock_mhz_min")
    hours = {name: _number(row, f"budget/hours_left{name}") for name in ("", "_low", "_high")}
    left = {name: None if value is None else value * units.SECONDS_PER_HOUR for name, value in hours.items()}
    return Window(
        step=step,
        ended_at=at,
        seconds=seconds,
        wall_seconds=max(at - earlier.ended_at, 0.0) if earlier is not None else seconds,
        data_wait_seconds=seconds * (_number(row, "step/data_wait_frac") or _number(row, "perf/data_wait_frac") or 0.0),
        counts=Counts(
            flops=_amount(_number(row, "perf/device_tflops_per_sec"), seconds * device.count * _TERA),
            tokens=_amount(_number(row, "perf/tokens_per_sec"), seconds),
            samples=_amount(_number(row, "perf/samples_per_sec"), seconds),
            hardware_flops=_hardware(row, seconds, device),
            useful_tokens=None,
            batches=steps,
            steps=steps,
        ),
        totals=totals,
        first=first,
        sm_clock_hz=None if clock is None else clock * _MEGA,
        sm_clock_hz_min=None if low is None else low * _MEGA,
        clock_samples=0 if clock is None else FEWEST_SAMPLES,  # a row has a clock from that many on
        budget_fraction=_number(row, "budget/fraction"),
        seconds_left=left[""],
        throttled_frac=_number(row, "gpu/throttled_frac"),
        seconds_left_low=left["_low"],
        seconds_left_high=left["_high"],
        slowest_rank_ratio=_number(row, "gpu/slowest_rank_ratio"),
        loss=units.number(row.get("loss/train")),
        validation_loss=units.number(row.get("loss/validation")),
    )


def _hardware(row: Mapping[str, Any], seconds: float, device: Device) -> int | None:
    hfu = _number(row, "perf/hfu")
    peak = device.peak_flops_per_second
    return None if hfu is None or peak is None else _amount(hfu, seconds * device.count * peak)


def _totals(row: Mapping[str, Any], device: Device) -> Totals:
    hours, kwh = _number(row, "budget/device_hours") or 0.0, _number(row, "budget/kwh")
    device_seconds = hours * units.SECONDS_PER_HOUR
    return Totals(
        counts=replace(
            UNKNOWN,
            flops=_amount(_number(row, "budget/flops"), 1),
            tokens=_amount(_number(row, "budget/tokens"), 1),
        ),
        seconds=device_seconds / device.count,
        device_seconds=device_seconds,
        joules=_amount(kwh, units.JOULES_PER_KWH),
    )


def _amount(rate: float | None, factor: float) -> int | None:
    return None if rate is None else round(rate * factor)


def _number(values: Mapping[str, Any], name: str) -> float | None:
    return units.amount(values.get(name))


def _positive(values: Mapping[str, Any], name: str) -> float | None:
    return _number(values, name) or None


def _whole(values: Mapping[str, Any], name: str) -> int | None:
    number = _number(values, name)
    return None if number is None else int(number)


def _text(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    return value if isinstance(value, str) else None


def _device(facts: Mapping[str, Any]) -> Device:
    return Device(
        name=_text(facts, "device") or "unknown device",
        count=max(_whole(facts, "device_count") or 1, 1),
        dtype=_text(facts, "dtype"),
        peak_flops_per_second=_positive(facts, "peak_flops_per_second"),
        peak_source=_text(facts, "peak_source"),
        flops_per_clock=_positive(facts, "flops_per_clock"),
        driver=_text(facts, "driver"),
        boost_clock_hz=_positive(facts, "boost_clock_hz"),
    )


def _work(facts: Mapping[str, Any]) -> Work | None:
    """How the work was counted, as the config says; `None` where an older flopwatch wrote it."""
    verification = next((each for each in _COUNTED if each == facts.get("verification")), None)
    batch = facts.get("first_batch")
    if verification is None or not isinstance(batch, Mapping):
        return None
    return Work(
        verification=verification,
        note=_text(facts, "verification_note") or "",
        model_type=_text(facts, "model_type"),
        parameters=_whole(facts, "parameters"),
        active_parameters=_whole(facts, "active_parameters"),
        attention=_text(facts, "attention"),
        sequences=_whole(batch, "sequences"),
        seq_len=_whole(batch, "seq_len"),
        forward_flops=_whole(batch, "forward_flops"),
        training_flops=_whole(batch, "training_flops"),
        components=tuple(_components(facts, batch)),
        method="measured" if facts.get("method") == "measured" else "config",
        trainable_parameters=_whole(facts, "trainable_parameters"),
        hardware_flops=_whole(batch, "hardware_flops"),
        tokens=_whole(batch, "tokens"),
    )


def _components(facts: Mapping[str, Any], batch: Mapping[str, Any]) -> Iterable[ComponentRow]:
    parameters = facts.get("parameters_by_component")
    per_token, per_sample = facts.get("forward_flops_per_token"), facts.get("forward_flops_per_sample")
    per_unit = per_token if isinstance(per_token, Mapping) else per_sample
    count = _whole(batch, "tokens" if isinstance(per_token, Mapping) else "sequences")
    if not isinstance(parameters, Mapping) or not isinstance(per_unit, Mapping) or not count:
        return
    for name in itertools.islice(parameters, 1000):
        flops = _number(per_unit, name)
        if flops is not None:
            yield ComponentRow(str(name), _whole(parameters, name) or 0, round(flops * count))
