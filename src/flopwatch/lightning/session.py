"""One `fit`: the parts that count, time, read clocks and write, and the order in which they are asked."""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from flopwatch import metrics, rates, units
from flopwatch.budget import Budget, BudgetUnit, Projection, project
from flopwatch.components import AttentionConvention
from flopwatch.lightning import discovery
from flopwatch.lightning.counting import BatchCounter, BatchShape
from flopwatch.lightning.ranks import Ranks
from flopwatch.lightning.sinks import LoggerSink, ProgressSink
from flopwatch.lightning.timing import Lap, ProfilerTap, Stopwatch
from flopwatch.meter import Counts, Meter
from flopwatch.records import BudgetLine, Device, End, Event, Start, Status, Totals, Window, Work
from flopwatch.render import facts, text
from flopwatch.report import Report, summarize
from flopwatch.runfile import FILE_NAME, RunFileWriter, read_run
from flopwatch.sampler import ClockSampler, ClockSamples

_logger = logging.getLogger("flopwatch")
_RECENT_WINDOWS = 12
_FASTEST_GROWTH = 10
_PACKAGES = ("flopwatch", "torch", "pytorch-lightning", "lightning", "wandb", "nvidia-ml-py")
_NO_CLOCK = ClockSamples(0, None, None)


@dataclass(frozen=True)
class Options:
    """The arguments of `FlopWatch`, checked."""

    budgets: tuple[Budget, ...] = ()
    config: object | None = None
    peak_flops_per_second: float | str | None = None
    attention: AttentionConvention = "causal"
    batch_shape: BatchShape | None = None
    every_n_seconds: float = 10.0
    every_n_steps: int | None = None
    usd_per_device_hour: float | None = None
    dirpath: Path | None = None
    report: bool = True
    prefix: str = ""


class Session:
    """Everything that flopwatch does during one `fit`.

    Args:
        options: What the user asked for.
        trainer: The Trainer.
        stopwatch: Started when the Trainer was set up.
    """

    def __init__(self, options: Options, trainer: Any, stopwatch: Stopwatch) -> None:
        self._options = options
        self._trainer = trainer
        self._stopwatch = stopwatch
        self._ranks: Ranks | None = None
        self._counter: BatchCounter | None = None
        self._loggers = LoggerSink([])
        self._begun = False
        self._tap = ProfilerTap(trainer.profiler, stopwatch)
        self.meter = Meter()
        self.started_at = time.time()
        self.run_file: Path | None = None
        self.finished = False
        self._recent: deque[Window] = deque(maxlen=_RECENT_WINDOWS)
        self._window_counts = Counts()
        self._first_window = True
        self._first_batch = True
        self._booked_until = 0.0
        self._axis = 0
        self._writer: RunFileWriter | None = None
        self._sampler: ClockSampler | None = None
        self._progress: ProgressSink | None = None

    def prepare(self, module: Any) -> None:
        """Find the model, the device and the other ranks; the module has its parameters by now."""
        trainer, options = self._trainer, self._options
        self._ranks = Ranks(trainer.strategy, trainer.world_size)
        self._is_first_rank = bool(trainer.is_global_zero)
        self._name = type(module).__name__
        self._counter = BatchCounter(
            module,
            config=options.config,
            attention=options.attention,
            batch_shape=options.batch_shape,
            strategy=type(trainer.strategy).__name__,
        )
        dtype = discovery.dtype_of(trainer, module)
        device = discovery.describe_device(trainer.strategy.root_device, trainer.world_size, dtype)
        self.device = _with_users_peak(device, options.peak_flops_per_second, trainer.strategy.root_device)

    def begin(self, state: Mapping[str, Any]) -> None:
        """Training is about to start: go on from a checkpoint's state, open the files, start sampling."""
        trainer = self._trainer
        earlier = state.get("run_file")
        if state:
            self.meter.load_state_dict(state.get("totals", {}))
            self.started_at = float(state.get("started_at", self.started_at))
        self._last_step = trainer.global_step
        self._budgets = self._options.budgets or _trainers_budgets(trainer)
        self._next_step = self._last_step + 1
        if not self._is_first_rank:
            return
        self._loggers = LoggerSink(trainer.loggers)
        self._progress = ProgressSink(trainer.progress_bar_callback)
        self.run_file = _new_run_file(self._options.dirpath, Path(trainer.default_root_dir))
        self._writer = RunFileWriter(self.run_file)
        self._writer.write(self._start_record(earlier if isinstance(earlier, str) else None))
        if self.device.uuid is not None and self.device.driver is not None:
            self._sampler = ClockSampler(self.device.uuid)
            self._sampler.start()
        if self.device.peak_flops_per_second is None:
            _logger.info("no MFU: %s", self.device.peak_source)
        _logger.info("writing %s", self.run_file)

    def batch_started(self) -> None:
        """A training batch is about to run."""
        if self._first_batch and not self._stopwatch.inside("training"):
            self._stopwatch.lap()
            self._stopwatch.become("training")

    def batch_ended(self, batch: Any) -> None:
        """A training batch was run: count it, and close the window if it is time to."""
        if self._first_batch:
            self._first_batch = False
            self._describe_work(self._counter.first(batch))
        shape = self._counter.shape(batch)
        flops = self._counter.flops(shape)
        self.meter.add(flops, shape.tokens if shape else None, shape.sequences if shape else None)
        step = self._trainer.global_step
        if step == self._last_step:
            return
        self._last_step = step
        self.meter.step()
        self._axis = self._trainer.fit_loop.epoch_loop._batches_that_stepped
        if self._window_is_due(step):
            self._close_window()

    def enter(self, kind: Any) -> None:
        """A kind of time began."""
        self._stopwatch.enter(kind)

    def leave(self, kind: Any) -> None:
        """A kind of time ended."""
        self._stopwatch.leave(kind)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, with everything done so far booked.

        Several ranks can only be summed while all of them save a checkpoint together.
        """
        if not self.finished and (self._ranks.world_size == 1 or self._stopwatch.inside("checkpoint")):
            self._book()
        return {
            "totals": self.meter.state_dict(),
            "started_at": self.started_at,
            "run_file": None if self.run_file is None else str(self.run_file.resolve()),
        }

    def finish(self, status: Status) -> None:
        """Close everything: the last window, files, threads; then write the report and say where it is."""
        if self.finished:
            return
        self._stopwatch.become("other")
        if status == "finished" or self._ranks.world_size == 1:
            self._close_window()
        self.finished = True
        self._release()
        if self._writer is None or self.run_file is None:
            return
        seconds = self._stopwatch.seconds_by_kind()
        self._writer.write(End(status, time.time(), self._last_step, self.meter.totals, seconds))
        if not self._writer.close():
            return
        report = summarize(read_run(self.run_file))
        self._loggers.log_summary(_summary(report))
        paths = [self.run_file]
        if self._options.report:
            paths.append(_write_report(report, self.run_file))
        _logger.info("%s", "\n".join([*text.summary_lines(report), *(f"written: {path}" for path in paths)]))

    def abandon(self) -> None:
        """Let go of everything after an error of our own."""
        self.finished = True
        self._release()
        if self._writer is not None:
            self._writer.write(Event(time.time(), "flopwatch failed here; nothing was measured from here on"))
            self._writer.close()

    def _release(self) -> None:
        self._tap.remove()
        self._counter.remove()
        if self._sampler is not None:
            self._sampler.stop()
        if self._progress is not None:
            self._progress.remove()

    def _start_record(self, earlier: str | None) -> Start:
        strategy, plugin = self._trainer.strategy, self._trainer.precision_plugin
        return Start(
            run_id=self.run_file.parent.name if self.run_file else "",
            time=time.time() - self._stopwatch.elapsed_seconds(),
            started_at=self.started_at,
            step=self._last_step,
            device=self.device,
            totals=self.meter.totals,
            name=self._name,
            budgets=tuple(BudgetLine(each.amount, each.unit, str(each)) for each in self._budgets),
            precision=str(getattr(plugin, "precision", "")) or None,
            strategy=f"{type(strategy).__name__}, {self._trainer.world_size} processes",
            usd_per_device_hour=self._options.usd_per_device_hour,
            resumed_from=earlier,
            versions=_versions(),
        )

    def _describe_work(self, work: Work) -> None:
        if self._writer is None:
            return
        self._writer.write(work)
        if work.verification == "withheld":
            _logger.warning("no FLOPs and no MFU: %s", work.note)
        else:
            per_token = units.format_si(facts.flops_per_token(work), "FLOPs")
            _logger.info("%s per token, %s attention: %s", per_token, work.attention, work.note)
        self._loggers.log_facts(_hyperparameters(work, self.device, self._budgets))

    def _window_is_due(self, step: int) -> bool:
        """Whether this step ends a window: by steps where ranks must agree, by the clock where there is one rank."""
        if self._first_window:
            return True
        every_n_steps = self._options.every_n_steps
        if every_n_steps is not None:
            return step % every_n_steps == 0
        if self._ranks.world_size > 1:
            return step >= self._next_step
        return self._stopwatch.lap_seconds() >= self._options.every_n_seconds

    def _book(self) -> float:
        """Take what was counted, sum it over the ranks, add it to the totals; returns the ranks' mean lap seconds."""
        elapsed = self._stopwatch.elapsed_seconds()
        counts, lap_seconds = self._ranks.total(self.meter.take(), self._stopwatch.lap_seconds())
        self._window_counts += counts
        self.meter.book(counts, (elapsed - self._booked_until) * self.device.count)
        self._booked_until = elapsed
        return lap_seconds

    def _close_window(self) -> None:
        lap_seconds = self._book()
        counts, self._window_counts = self._window_counts, Counts()
        if not counts.steps:
            return
        self._next_step = self._last_step + self._steps_for_next_window(counts.steps, lap_seconds)
        clocks = self._sampler.take() if self._sampler is not None else _NO_CLOCK
        window = self._window(counts, self._stopwatch.lap(), clocks)
        self._first_window = False
        if self._is_first_rank:
            self._publish(window)

    def _steps_for_next_window(self, steps: int, lap_seconds: float) -> int:
        """The same on every rank, since every rank has the same mean."""
        wanted = self._options.every_n_seconds / max(lap_seconds / steps, 1e-9)
        return max(1, min(round(wanted), _FASTEST_GROWTH * steps))

    def _window(self, counts: Counts, lap: Lap, clocks: ClockSamples) -> Window:
        totals = self.meter.totals
        return Window(
            step=self._last_step,
            ended_at=time.time(),
            seconds=lap.seconds,
            wall_seconds=lap.wall_seconds,
            data_wait_seconds=lap.data_wait_seconds,
            steps=counts.steps,
            batches=counts.batches,
            flops=counts.flops,
            tokens=counts.tokens,
            samples=counts.samples,
            total_flops=totals.flops,
            total_tokens=totals.tokens,
            total_device_seconds=totals.device_seconds,
            first=self._first_window,
            sm_clock_hz=clocks.mean_hz,
            sm_clock_hz_min=clocks.min_hz,
            clock_samples=clocks.count,
        )

    def _publish(self, window: Window) -> None:
        if not window.first:
            self._recent.append(window)
        projection = self._project()
        if projection is not None:
            window = replace(window, budget_fraction=projection.fraction, seconds_left=projection.seconds_left)
        if self._writer is not None:
            self._writer.write(window)
        if window.first:
            return
        values = metrics.logger_metrics(
            window,
            self.device,
            self.meter.totals,
            run_seconds=time.time() - self.started_at,
            projection=projection,
            usd_per_device_hour=self._options.usd_per_device_hour,
            prefix=self._options.prefix,
        )
        self._loggers.log_metrics(values, self._axis)
        if self._progress is not None:
            self._progress.show(_progress_words(metrics.mfu(window, self.device), projection))

    def _project(self) -> Projection | None:
        totals = self.meter.totals
        done: dict[BudgetUnit, float | None] = {
            "flops": totals.flops,
            "tokens": totals.tokens,
            "samples": totals.samples,
            "steps": self._last_step,
            "seconds": self._seconds_used(totals),
        }
        return project(self._budgets, done, _recent_rates(self._recent))

    def _seconds_used(self, totals: Totals) -> float:
        timer = None if self._options.budgets else _timer(self._trainer)
        return float(timer.time_elapsed("train")) if timer else totals.device_seconds / self.device.count


def _recent_rates(windows: deque[Window]) -> dict[BudgetUnit, float | None]:
    """Use per second of wall time over the last windows, validation and checkpoints in them included."""
    seconds = sum(window.wall_seconds for window in windows)

    def rate(amounts: list[int | None]) -> float | None:
        known = [amount for amount in amounts if amount is not None]
        return rates.per_second(sum(known), seconds) if known and len(known) == len(amounts) else None

    return {
        "flops": rate([window.flops for window in windows]),
        "tokens": rate([window.tokens for window in windows]),
        "samples": rate([window.samples for window in windows]),
        "steps": rate([window.steps for window in windows]),
        "seconds": 1.0,
    }


def _progress_words(mfu: float | None, projection: Projection | None) -> dict[str, str]:
    words = {} if mfu is None else {"mfu": units.format_percent(mfu)}
    if projection is not None and projection.seconds_left is not None:
        words["left"] = units.format_duration(projection.seconds_left)
    return words


def _with_users_peak(device: Device, peak: float | str | None, root_device: Any) -> Device:
    if peak is None:
        return device
    if peak != "measured":
        return replace(device, peak_flops_per_second=float(peak), peak_source="given by the user")
    from flopwatch.benchmark import TORCH_DTYPES, measure_peak

    if device.dtype not in TORCH_DTYPES:
        return replace(device, peak_source=f"a {device.dtype} peak cannot be measured; give peak_flops_per_second")
    measured = measure_peak(device.dtype, root_device)
    return replace(device, peak_flops_per_second=measured.flops_per_second, peak_source=measured.source)


def _timer(trainer: Any) -> Any | None:
    timers = (each for each in trainer.callbacks if type(each).__name__ == "Timer")
    return next((each for each in timers if each.time_remaining("train") is not None), None)


def _trainers_budgets(trainer: Any) -> tuple[Budget, ...]:
    """What the Trainer itself is bounded by: its steps (from `max_steps` or `max_epochs`) and its `max_time`."""
    budgets = []
    steps = float(trainer.max_steps)
    if trainer.lightning_module.automatic_optimization:
        steps = float(trainer.estimated_stepping_batches)
    if 0 < steps < float("inf"):
        budgets.append(Budget(int(steps), "steps"))
    timer = _timer(trainer)
    if timer is not None:
        budgets.append(Budget(timer.time_elapsed("train") + timer.time_remaining("train"), "seconds"))
    return tuple(budgets)


def _new_run_file(dirpath: Path | None, root: Path) -> Path:
    """A file that does not exist yet: in the user's folder, or in a new folder named by the time of day."""
    if dirpath is None:
        folder = root / "flopwatch" / datetime.now().strftime("%Y%m%d-%H%M%S")
        version = 1
        while folder.exists():
            version += 1
            folder = folder.with_name(f"{folder.name.split('_')[0]}_{version}")
        return folder / FILE_NAME
    path, version = dirpath / FILE_NAME, 1
    while path.exists():
        version += 1
        path = dirpath / f"run-{version}.jsonl"
    return path


def _write_report(report: Report, run_file: Path) -> Path:
    from flopwatch.render import html

    path = run_file.with_name(run_file.stem.replace("run", "report", 1) + ".html")
    path.write_text(html.render(report), encoding="utf-8")
    return path


def _hyperparameters(work: Work, device: Device, budgets: tuple[Budget, ...]) -> dict[str, Any]:
    facts_of_run = {
        "model_type": work.model_type,
        "parameters": work.parameters,
        "attention": work.attention if work.training_flops else None,
        "verification": work.verification,
        "training_flops_per_token": facts.flops_per_token(work),
        "device": device.name,
        "device_count": device.count,
        "dtype": device.dtype,
        "peak_flops_per_second": device.peak_flops_per_second,
        "peak_source": device.peak_source,
        "driver": device.driver,
        "budget": ", ".join(str(budget) for budget in budgets) or None,
        "versions": _versions(),
    }
    return {name: value for name, value in facts_of_run.items() if value is not None}


def _summary(report: Report) -> dict[str, float | str | None]:
    totals = report.totals
    return {
        "mfu_mean": report.mfu,
        "mfu_at_clock_mean": report.mfu_at_clock,
        "run_mfu": report.run_mfu,
        "tokens_per_sec_mean": report.tokens_per_second,
        "flops_total": None if totals.flops is None else float(totals.flops),
        "tokens_total": None if totals.tokens is None else float(totals.tokens),
        "device_hours_total": totals.device_seconds / units.SECONDS_PER_HOUR,
        "wall_seconds": report.wall_seconds,
        "status": report.status,
    }


def _versions() -> dict[str, str]:
    versions = {"python": sys.version.split()[0]}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
