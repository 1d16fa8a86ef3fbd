"""One `fit`: the parts that count, time, read clocks and write, and the order in which they are asked."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from flopwatch import metrics, runfile, units
from flopwatch.budget import Budget, Projection
from flopwatch.chips import Chip, Dtype
from flopwatch.lightning import facts
from flopwatch.lightning.bounds import Bounds
from flopwatch.lightning.counting import BatchCounter
from flopwatch.lightning.devices import UsersPeak, address_of, device_of, no_telemetry
from flopwatch.lightning.hardware import HardwareWatch
from flopwatch.lightning.precision import AutocastProbe, Precision, precision_of
from flopwatch.lightning.ranks import Ranks
from flopwatch.lightning.shapes import BatchShape
from flopwatch.lightning.sinks import LoggerSink, ProgressSink
from flopwatch.lightning.timing import Kind, Lap, ProfilerTap, Stopwatch
from flopwatch.meter import Counts, Meter
from flopwatch.records import Device, End, Event, Status, Window, Work
from flopwatch.render import RENDERERS
from flopwatch.render.facts import work_words
from flopwatch.render.text import component_table, summary_lines
from flopwatch.report import summarize
from flopwatch.telemetry import Telemetry
from flopwatch.tree import AttentionConvention

_logger = logging.getLogger("flopwatch")
_RECENT_WINDOWS = 12
_MOST_COMPONENTS = 16
_FASTEST_GROWTH = 10
_NOTHING_READ = Telemetry()


@dataclass(frozen=True)
class Options:
    """The arguments of `FlopWatch`, checked."""

    budgets: tuple[Budget, ...] = ()
    config: object | None = None
    peak_flops_per_second: UsersPeak = None
    attention: AttentionConvention = "causal"
    batch_shape: BatchShape | None = None
    every_n_seconds: float = 10.0
    every_n_steps: int | None = None
    usd_per_device_hour: float | None = None
    dirpath: Path | None = None
    report: bool = True
    prefix: str = ""
    optimizer_flops: int | None = None
    chips: tuple[Chip, ...] = ()
    dtype: Dtype | None = None


class Session:
    """Everything that flopwatch does during one `fit`.

    Args:
        options: What the user asked for.
        trainer: The Trainer, its strategy set up.
        module: The LightningModule, with its parameters.
        ranks: The run's processes.
        stopwatch: Started when the Trainer was set up.
    """

    def __init__(self, options: Options, trainer: Any, module: Any, ranks: Ranks, stopwatch: Stopwatch) -> None:
        self._options = options
        self._trainer = trainer
        self._name = type(module).__name__
        self._stopwatch = stopwatch
        self._tap = ProfilerTap(trainer.profiler, stopwatch)
        self._ranks = ranks
        root = trainer.strategy.root_device
        self._precision = precision_of(trainer, module)
        if options.dtype is not None:
            self._precision = Precision(options.dtype, "precision given by the user", by_layers=True)
        self._autocast = AutocastProbe(module, root.type)
        self._device = device_of(trainer, self._precision, options.peak_flops_per_second, options.chips)
        clock = self._device.boost_clock_hz
        self._hardware = HardwareWatch(address_of(root), clock, ranks.owns, trainer.global_rank)
        self._counter = BatchCounter(
            module,
            config=options.config,
            attention=options.attention,
            batch_shape=options.batch_shape,
            strategy=type(trainer.strategy).__name__,
        )
        self._meter = Meter()
        self._process_started_at = time.time() - stopwatch.elapsed_seconds()
        self._started_at = self._process_started_at
        self._capacity_before: float | None = 0.0
        self._booked_until = 0.0
        self._window_counts = Counts()
        self._first_batch = self._first_window = self._check_due = True
        self._epoch_fresh = self._last_settlement = False
        self._optimizer_flops = options.optimizer_flops or 0
        self._last_step: int = trainer.global_step
        self._next_step: int = self._last_step
        self._axis = 0
        self._recent: deque[Window] = deque(maxlen=_RECENT_WINDOWS)
        self._bounds: Bounds | None = None
        self._output: _Output | None = None
        self._doubted = False
        self.begun = self.finished = False

    def begin(self, state: Mapping[str, Any]) -> None:
        """Training is about to start: go on from a checkpoint's state, open the files, start sampling."""
        trainer = self._trainer
        self._last_step = trainer.global_step
        self._go_on_from(state)
        seconds = self._meter.totals.seconds + self._stopwatch.elapsed_seconds()
        self._bounds = Bounds(trainer, self._options.budgets, seconds)
        self.begun = True
        self._hardware.start()
        if not trainer.is_global_zero:
            return
        path = runfile.new_run_file(self._options.dirpath, _local_folder(trainer.default_root_dir))
        self._output = _Output(trainer, path)
        self._output.file.write(
            facts.start_record(
                trainer,
                self._device,
                self._bounds.budgets,
                self._meter.totals,
                run_id=path.parent.name,
                name=self._name,
                started_at=self._started_at,
                process_started_at=self._process_started_at,
                capacity_flops=self._capacity_before,
                usd_per_device_hour=self._options.usd_per_device_hour,
                resumed_from=state.get("run_file"),
            )
        )
        unread = no_telemetry(trainer.strategy.root_device)
        if unread is not None:
            _logger.info("%s", unread)
        if self._device.peak_flops_per_second is None:
            _logger.info("no MFU: %s", self._device.peak_source)
        _logger.info("writing %s", path)

    def _go_on_from(self, state: Mapping[str, Any]) -> None:
        if state:
            self._meter.load_state_dict(state["totals"])
            self._started_at = float(state.get("started_at", self._started_at))
            idle = self._process_started_at - float(state.get("time", self._process_started_at))
            device = Device(**state["device"]) if "device" in state else self._device
            self._capacity_before = metrics.capacity_flops(state.get("capacity_flops"), idle, device)
        elif self._last_step:
            self._meter.load_state_dict({"flops": None, "tokens": None, "samples": None})  # and what has no entry
            self._capacity_before = None
            _logger.info("the checkpoint holds no totals of flopwatch; FLOPs and tokens of the whole run are unknown")

    def batch_started(self) -> None:
        """A training batch is about to run."""
        if self._epoch_fresh and not self._first_batch:
            self._counter.epoch_started()
        self._epoch_fresh = False
        if self._check_due:
            self._counter.watch()
        if self._first_batch:
            self._autocast.attach()
        if self._first_batch and not self._stopwatch.inside("training"):
            self._stopwatch.lap()
            self._stopwatch.become("training")

    def batch_ended(self, batch: Any, skipped: bool) -> None:
        """A training batch was run: count it, and close the window if it is time to."""
        self._check(batch, skipped)
        self._meter.add(*(self._counter.skip() if skipped else self._counter.count(batch)))
        if self._optimizer_flops and self._trainer.global_step != self._last_step:
            self._meter.add(0, 0, 0, self._optimizer_flops, batches=0)
        step: int = self._trainer.global_step
        if step == self._last_step:
            return
        self._meter.step(step - self._last_step)
        self._last_step = step
        self._axis = self._trainer.fit_loop.epoch_loop._batches_that_stepped
        if self._window_is_due(step):
            self._close_window()

    def epoch_started(self) -> None:
        """A training epoch is about to run; callbacks freeze and thaw parameters at its start."""
        self._epoch_fresh = True

    def _check(self, batch: Any, skipped: bool) -> None:
        """Compare the first batch, and one of every window, with what the model was really fed."""
        if not self._check_due:
            return
        self._autocast.detach()
        if skipped:
            self._counter.unwatch()
            return
        self._check_due = False
        if self._first_batch:
            self._first_batch = False
            self._stopwatch.enter("setup")
            self._settle_precision()
            self._describe_work(self._counter.first(batch, self._trainer.optimizers))
            self._stopwatch.leave("setup")
        elif not self._counter.holds(batch):
            self._meter.lose_flops()

    def _settle_precision(self) -> None:
        """Hold the run against another peak where its layers were seen to run in another precision."""
        precision = self._autocast.corrected(self._precision)
        if precision == self._precision:
            return
        self._precision = precision
        self._device = device_of(self._trainer, precision, self._options.peak_flops_per_second, self._options.chips)
        if self._output is not None:
            self._output.file.write(self._device)
            _logger.info("the layers run in %s: peak %s", precision.dtype, self._device.peak_source)

    def enter(self, kind: Kind) -> None:
        """A kind of time began."""
        self._stopwatch.enter(kind)

    def leave(self, kind: Kind) -> None:
        """A kind of time ended."""
        self._stopwatch.leave(kind)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, with everything done so far booked.

        Several ranks can only be summed while all of them save a checkpoint together.
        """
        if not self.finished and (self._ranks.world_size == 1 or self._stopwatch.inside("checkpoint")):
            self._book()
        return {
            "totals": self._meter.state_dict(),
            "started_at": self._started_at,
            "time": time.time(),
            "capacity_flops": self._capacity(),
            "device": asdict(self._device),
            "run_file": None if self._output is None else str(self._output.file.path.resolve()),
        }

    def _capacity(self) -> float | None:
        seconds = time.time() - self._process_started_at
        return metrics.capacity_flops(self._capacity_before, seconds, self._device)

    def finish(self, status: Status) -> None:
        """Close everything: the last window, files, threads; then write the report and say where it is."""
        if self.finished:
            return
        self._stopwatch.become("other")
        self._last_settlement = True
        self._hardware.stop()
        if status == "finished" or self._ranks.world_size == 1:
            self._close_window()
        self._release()
        self._pass_on_news()
        if self._output is None:
            return
        seconds = self._stopwatch.seconds_by_kind()
        self._output.file.write(End(status, time.time(), self._last_step, self._meter.totals, seconds))
        self._output.finish(report=self._options.report)

    def abandon(self) -> None:
        """Let go of everything after an error of our own; what was measured stays."""
        self._ranks.leave()
        self._release()
        if self._output is not None:
            self._output.file.write(Event(time.time(), "flopwatch failed here; nothing was measured from here on"))
            self._output.file.close()

    def _release(self) -> None:
        self.finished = True
        self._tap.remove()
        self._counter.unwatch()
        self._autocast.detach()
        self._hardware.stop()
        if self._output is not None:
            self._output.progress.remove()

    def _describe_work(self, work: Work) -> None:
        if self._output is None or self._bounds is None:
            return
        self._output.file.write(work)
        if work.verification in ("withheld", "disagree"):
            _logger.warning("no FLOPs and no MFU: %s", work.note)
        else:
            _logger.info("%s, %s: %s", work_words(work), work.verification, work.note)
            _logger.info("what a step is made of\n%s", component_table(work, _MOST_COMPONENTS))
        self._output.loggers.log_facts(
            facts.hyperparameters(work, self._device, self._bounds.budgets, self._hardware.driver())
        )

    def _window_is_due(self, step: int) -> bool:
        """Whether this step ends a window: by steps where ranks must agree, by the clock where there is one rank."""
        if self._first_window or (self._bounds is not None and step == self._bounds.last_step):
            return True
        if self._options.every_n_steps is not None:
            return step % self._options.every_n_steps == 0
        if self._ranks.world_size > 1:
            return step >= self._next_step
        return self._stopwatch.lap_seconds() >= self._options.every_n_seconds

    def _book(self, own: Telemetry = _NOTHING_READ) -> tuple[float, Telemetry]:
        """Take what was counted, sum it over the ranks, add it to the totals.

        Returns:
            The ranks' mean lap seconds, and what all their GPUs did.
        """
        for amounts in self._counter.settle(last=self._last_settlement):
            self._meter.add(*amounts, batches=0)
        if not self._counter.still_trains():
            self._meter.lose_flops()
        elapsed = self._stopwatch.elapsed_seconds()
        taken = self._meter.take(self._hardware.take_joules())
        counts, lap_seconds, telemetry = self._ranks.total(taken, self._stopwatch.lap_seconds(), own)
        self._window_counts += counts
        self._meter.book(counts, elapsed - self._booked_until, self._device.count)
        self._booked_until = elapsed
        return lap_seconds, telemetry

    def _close_window(self) -> None:
        self._check_due = True
        own = self._hardware.take()
        lap_seconds, telemetry = self._book(own)
        self._pass_on_news(own, telemetry)
        counts, self._window_counts = self._window_counts, Counts()
        if not counts.steps:
            return
        self._next_step = self._last_step + self._steps_for_next_window(counts.steps, lap_seconds)
        window = self._window(counts, self._stopwatch.lap(), telemetry)
        if self._output is not None:
            self._publish(window, self._output)
        self._first_window = False

    def _pass_on_news(self, own: Telemetry = _NOTHING_READ, everyone: Telemetry = _NOTHING_READ) -> None:
        for record in self._hardware.news(self._last_step, own, everyone):
            if self._output is not None:
                self._output.file.write(record)

    def _steps_for_next_window(self, steps: int, lap_seconds: float) -> int:
        """The same on every rank, since every rank has the same mean."""
        wanted = self._options.every_n_seconds / max(lap_seconds / steps, 1e-9)
        return max(1, min(round(wanted), _FASTEST_GROWTH * steps))

    def _window(self, counts: Counts, lap: Lap, telemetry: Telemetry) -> Window:
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
            hardware_flops=counts.hardware_flops,
            useful_tokens=counts.useful_tokens,
            totals=self._meter.totals,
            first=self._first_window,
            **vars(telemetry),
        )

    def _publish(self, window: Window, output: _Output) -> None:
        """Write the window down and, warm-up aside, log it and show it."""
        if not window.first:
            self._recent.append(window)
        projection = self._project()
        if projection is not None:
            window = replace(window, budget_fraction=projection.fraction, seconds_left=projection.seconds_left)
        output.file.write(window)
        if window.first:
            return
        values = metrics.logger_metrics(
            window,
            self._device,
            self._meter.totals,
            capacity=self._capacity(),
            projection=projection,
            usd_per_device_hour=self._options.usd_per_device_hour,
            prefix=self._options.prefix,
        )
        output.loggers.log_metrics(values, self._axis)
        mfu = metrics.mfu(window, self._device)
        output.progress.show(_progress_words(mfu, projection))
        doubt = metrics.doubt(mfu, self._device)
        if doubt and not self._doubted:
            self._doubted = True
            _logger.warning("%s", doubt)

    def _project(self) -> Projection | None:
        if self._bounds is None:
            return None
        return self._bounds.project(self._meter.totals, self._last_step, self._recent)


class _Output:
    """Where the first rank's numbers go.

    Args:
        trainer: The Trainer.
        path: The run file to be made.
    """

    def __init__(self, trainer: Any, path: Path) -> None:
        self.loggers = LoggerSink(trainer.loggers)
        self.progress = ProgressSink(trainer.progress_bar_callback)
        self.file = runfile.RunFileWriter(path)

    def finish(self, *, report: bool) -> None:
        """Close the run file, make the report from it and say where both are; a report can be made later, too."""
        path = self.file.path
        if not self.file.close():
            return
        try:
            self._conclude(path, report)
        except Exception as error:
            _logger.warning("no report was made (%s); `flopwatch report %s` makes it", str(error)[:200], path)

    def _conclude(self, path: Path, report: bool) -> None:
        result = summarize(runfile.read_run(path))
        self.loggers.log_summary(facts.summary(result))
        written = [path]
        if report:
            written.append(runfile.report_path(path, "html"))
            written[-1].write_text(RENDERERS["html"](result), encoding="utf-8")
        for line in (*summary_lines(result), *(f"written: {each}" for each in written)):
            _logger.info("%s", line)


def _local_folder(root: Any) -> Path:
    """The Trainer's folder; where that is not a local one, the working directory."""
    return Path() if "://" in str(root) else Path(root)


def _progress_words(mfu: float | None, projection: Projection | None) -> dict[str, str]:
    words = {} if mfu is None else {"mfu": units.format_percent(mfu)}
    if projection is not None and projection.seconds_left is not None:
        words["left"] = units.format_duration(projection.seconds_left)
    return words
