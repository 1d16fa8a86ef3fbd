"""One `fit`: the parts that count, time, read clocks and write, and the order in which they are asked."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flopwatch.hardware.telemetry import Telemetry
from flopwatch.lightning.apart import Apart
from flopwatch.lightning.counting.guarded import GuardedCounting
from flopwatch.lightning.counting.precision import AutocastProbe, Precision, precision_of
from flopwatch.lightning.devices import address_of, device_of, no_telemetry
from flopwatch.lightning.hardware import HardwareWatch
from flopwatch.lightning.options import Options
from flopwatch.lightning.output import run_facts as facts
from flopwatch.lightning.output.fit_budgets import Bounds, Spending
from flopwatch.lightning.output.publisher import Publisher
from flopwatch.lightning.output.run_output import Output, run_file_for
from flopwatch.lightning.output.windows import Boundary, Windows, unknown_work
from flopwatch.lightning.ranks.publishing import RankReading
from flopwatch.lightning.ranks.ranks import Ranks
from flopwatch.lightning.ranks.reading import PendingSum, Sum
from flopwatch.lightning.session.restart import Restart, restart_from
from flopwatch.lightning.timing.device_time import timer_for
from flopwatch.lightning.timing.stopwatch import Kind, ProfilerTap, Stopwatch
from flopwatch.report.render.facts import work_words
from flopwatch.report.render.text import component_table
from flopwatch.run import metrics
from flopwatch.run.meter import NOTHING_DONE, Amounts, Mark, Meter, between, totals_of
from flopwatch.run.metric_table import METRICS, name
from flopwatch.run.records import Checkpoint, Device, End, Event, Progress, Status, Totals, Work, known_fields

_logger = logging.getLogger("flopwatch")
_MOST_COMPONENTS = 16
_NOTHING_READ = Telemetry()
# How long the end of a run waits at most: for the device, and for other ranks where all are well or not.
_DEVICE_SECONDS, _DEVICE_SECONDS_AFTER_AN_ERROR = 10.0, 1.0
_RANKS_SECONDS, _MOMENT_SECONDS = 10.0, 0.5


@dataclass(frozen=True)
class _SavedAt:
    """A checkpoint whose totals wait for the other ranks' work: the step, and what was known there."""

    step: int
    own: Mark
    seconds: float
    seconds_by_kind: Mapping[str, float]
    sum: PendingSum


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
        self._options, self._trainer = options, trainer
        self._apart = Apart()
        self._name, self._stopwatch, self._ranks = type(module).__name__, stopwatch, ranks
        root = trainer.strategy.root_device
        stopwatch.use(timer_for(root, stopwatch.clock))
        self._precision = precision_of(trainer, module)
        if options.dtype is not None:
            self._precision = Precision(options.dtype, "precision given by the user", by_layers=True)
        self._autocast = AutocastProbe(module, root.type)
        self._device = device_of(trainer, self._precision, options.peak_flops_per_second, options.chips)
        address, clock = self._apart.run("finding the GPU", address_of, root), self._device.boost_clock_hz
        self._hardware = HardwareWatch(address, clock, stopwatch.in_loop, trainer.global_rank)
        self._counting = GuardedCounting(
            module,
            config=options.config,
            attention=options.attention,
            batch_shape=options.batch_shape,
            flops_per_batch=options.flops_per_batch,
            strategy=type(trainer.strategy).__name__,
            several_ranks=ranks.world_size > 1,
        )
        self._meter = Meter()
        self._initial = Totals(hardware_flops=0, useful_tokens=0, joules=0)
        self._process_started_at = time.time() - stopwatch.elapsed_seconds()
        self._started_at = self._process_started_at
        self._capacity_before: float | None = 0.0
        self._windows = Windows(ranks.per_replica)
        # Buffers are broadcast before each forward pass, so it waits for other ranks where there are some.
        ddp = type(trainer.strategy).__name__ == "DDPStrategy" and next(module.buffers(), None) is None
        self._marks_forward = ddp and ranks.world_size > 1
        self._first_batch = self._first_window = True
        self._last_settlement = False
        self._optimizer_flops = options.optimizer_flops or 0
        self._last_step: int = trainer.global_step
        self._axis = self._steps_closed = 0
        self._latest = NOTHING_DONE
        self._reached = self._last_step, self._latest  # as one value, since another thread reads it
        self.stopped = False
        self._own_telemetry = _NOTHING_READ
        self._bounds: Bounds | None = None
        self._output: Output | None = None
        self._publisher: Publisher | None = None
        self._unsummed = False
        self._checkpoints: list[_SavedAt] = []
        self._final_totals: Totals | None = None
        self.begun = self.finished = False
        # Last, since nobody would take it away again if something else failed here.
        self._tap = ProfilerTap(trainer.profiler, stopwatch, self._counting.batch_begins, self._counting.batch_ends)

    def begin(self, state: Mapping[str, Any]) -> None:
        """Training is about to start: go on from a checkpoint's state, open the files, start sampling."""
        self._stopwatch.enter("flopwatch")
        self._begin(state)
        self._stopwatch.leave("flopwatch")

    def _begin(self, state: Mapping[str, Any]) -> None:
        trainer = self._trainer
        self._last_step = trainer.global_step
        self._reached = self._last_step, self._latest
        path = run_file_for(self._options.dirpath, trainer.default_root_dir)
        restart = self._go_on_from(state, path)
        spending = Spending(self._device.count, self._options.usd_per_device_hour, self._counting.parameters())
        elapsed = self._stopwatch.elapsed_seconds()
        self._bounds = Bounds(trainer, self._options.budgets, self._initial, elapsed, spending)
        self.begun = True
        self._hardware.start()
        self._ranks.start(self._read, stops=self._options.on_budget == "stop")
        self._ranks.note(self._last_step, self._meter.mark(), 0.0)
        if not trainer.is_global_zero:
            return
        self._output = Output(trainer, path, self._progress)
        self._output.loggers.announce(name(key, self._options.prefix) for key in METRICS)
        self._publisher = Publisher(self._options, trainer, self._output, self._bounds, self._ranks, self._started_at)
        self._output.file.write(
            facts.start_record(
                trainer,
                self._device,
                self._bounds.budgets,
                self._initial,
                run_id=path.parent.name,
                name=self._name,
                started_at=self._started_at,
                process_started_at=self._process_started_at,
                capacity_flops=self._capacity_before,
                usd_per_device_hour=self._options.usd_per_device_hour,
                resumed_from=state.get("run_file"),
                lost_files=restart.lost_files,
            )
        )
        for words in (restart.words, no_telemetry(trainer.strategy.root_device)):
            if words is not None:
                _logger.info("%s", words)
        if restart.words is not None:
            self._output.file.write(Event(time.time(), restart.words))
        if self._device.peak_flops_per_second is None:
            _logger.info("no MFU: %s", self._device.peak_source)
        _logger.info("writing %s", path)

    def _go_on_from(self, state: Mapping[str, Any], path: Path) -> Restart:
        if state:
            restart = restart_from(state, self._last_step, path)
            self._initial = restart.totals
            self._started_at = float(state.get("started_at", self._started_at))
            idle = self._process_started_at - float(state.get("time", self._process_started_at))
            device = Device(**known_fields(Device, state["device"])) if "device" in state else self._device
            self._capacity_before = metrics.capacity_flops(state.get("capacity_flops"), idle, device)
            return restart
        if self._last_step:
            self._initial = Totals(flops=None, tokens=None, samples=None)
            self._capacity_before = None
            _logger.info("the checkpoint holds no totals of flopwatch; FLOPs and tokens of the whole run are unknown")
        return Restart(self._initial)

    def batch_started(self, batch: Any) -> None:
        """A training batch is about to run."""
        self._stopwatch.become("flopwatch")
        self._counting.plan(batch)
        if self._first_batch:
            self._apart.run("looking at the precision", self._autocast.attach)
        self._stopwatch.become("callbacks")

    def batch_ended(self, batch: Any, skipped: bool) -> None:
        """A training batch was run: count it, and close the window if it is time to."""
        self._stopwatch.become("flopwatch")
        if skipped:
            self._counting.skip()
            self._meter.add(Amounts())
        else:
            self._count(batch)
        step: int = self._trainer.global_step
        if step != self._last_step:
            self._meter.step(step - self._last_step)
            self._last_step = step
            self._step_ended(step)
        self._stopwatch.become("callbacks")

    def _step_ended(self, step: int) -> None:
        if self._optimizer_flops:
            self._meter.add(Amounts(hardware_flops=self._optimizer_flops), batches=0)
        self._settle()
        self._axis = self._trainer.fit_loop.epoch_loop._batches_that_stepped
        due = self._window_is_due(step)
        self._latest = self._meter.mark()
        self._reached = step, self._latest
        if self._ranks.world_size > 1:
            self._ranks.note(step, self._latest, self._stopwatch.own_seconds())
        if due:
            self._close_window()
        self._publish_complete()
        self._stop_if_due(step)

    def _stop_if_due(self, step: int) -> None:
        """End training where all ranks have agreed on this step; the first rank looks whether time is up."""
        if self._options.on_budget != "stop":
            return
        elapsed = self._stopwatch.elapsed_seconds()
        step_seconds = elapsed / max(self._latest.steps, 1)
        bounds = self._bounds if self._ranks.rank == 0 and not self._ranks.aims_to_stop else None
        if bounds is not None and bounds.is_used_up(elapsed):
            self._ranks.aim_to_stop(step, step, step_seconds)
        if not self.stopped and self._ranks.must_stop(step, step_seconds):
            self.stopped = self._trainer.should_stop = True

    def _settle(self) -> None:
        """Count earlier batches whose lengths are known by now."""
        for amounts in self._counting.settle(last=self._last_settlement):
            self._meter.add(amounts, batches=0)

    def epoch_started(self) -> None:
        """A training epoch is about to run."""
        self._stopwatch.become("other")
        if self._bounds is not None:
            self._bounds.epochs.begin()

    def epoch_ended(self) -> None:
        """A training epoch was run: end training where a budget is of so many."""
        if self._options.on_budget == "stop" and self._bounds is not None and self._bounds.ends_here():
            self.stopped = self._trainer.should_stop = True

    def _count(self, batch: Any) -> None:
        """Add a batch, and say how it is counted where that is new."""
        if self._first_batch:
            self._first_batch = False
            self._apart.run("looking at the precision", self._settle_precision)
        self._meter.add(self._counting.count(batch))
        news = self._counting.news()
        if news is not None:
            self._apart.run("describing how batches are counted", self._describe_work, news)

    def _settle_precision(self) -> None:
        """Hold the run against another peak where its layers were seen to run in another precision."""
        self._autocast.detach()
        precision = self._autocast.corrected(self._precision)
        if precision == self._precision:
            return
        self._precision = precision
        self._device = device_of(self._trainer, precision, self._options.peak_flops_per_second, self._options.chips)
        self._hardware.set_boost_clock(self._device.boost_clock_hz)
        if self._output is not None:
            self._output.file.write(self._device)
            _logger.info("the layers run in %s: peak %s", precision.dtype, self._device.peak_source)

    def forward_ended(self, loss: Any) -> None:
        """A batch's forward pass was run; with some strategies ranks wait for each other only after it."""
        self._counting.backward_begins(loss)
        if self._marks_forward:
            self._stopwatch.forward_ended()

    def enter(self, kind: Kind) -> None:
        """A kind of time began."""
        self._stopwatch.enter(kind)

    def leave(self, kind: Kind) -> None:
        """A kind of time ended."""
        self._stopwatch.leave(kind)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, up to the last step, on the first rank the totals of all.

        Other ranks may still be on their way to this step, and nobody waits for them: then the totals follow in the run
        file.
        """
        totals = self._final_totals or self._totals_at_checkpoint()
        return {
            "totals": asdict(totals),
            "totals_in_run_file": self._final_totals is None and self._ranks.world_size > 1,
            "started_at": self._started_at,
            "time": time.time(),
            "capacity_flops": self._capacity_flops(),
            "device": asdict(self._device),
            "run_file": None if self._output is None else str(self._output.file.path.resolve()),
        }

    def _totals_at_checkpoint(self) -> Totals:
        """The run's totals at the last step as far as they are known at once; the rest is noted to be written later."""
        self._settle()
        own, seconds = self._meter.mark(), self._stopwatch.elapsed_seconds()
        pending = self._sum_here(own)
        if pending is not None and not pending.done.is_set():
            self._checkpoints.append(
                _SavedAt(self._last_step, own, seconds, self._stopwatch.seconds_by_kind(), pending)
            )
        return self._totals(own, None if pending is None else pending.value, seconds)

    def _sum_here(self, own: Mark) -> PendingSum | None:
        """All ranks' work up to the last step, as much of it as is counted by now."""
        own_seconds = self._stopwatch.own_seconds()
        if self._ranks.world_size > 1:
            self._ranks.note(self._last_step, own, own_seconds)
        return self._ranks.sum_at(self._last_step, own, own_seconds)

    def _write_checkpoints(self) -> None:
        """Write the totals of checkpoints down where all ranks' work is known by now."""
        while self._checkpoints and self._checkpoints[0].sum.done.is_set():
            saved = self._checkpoints.pop(0)
            if self._output is not None and saved.sum.value is not None:
                totals = self._totals(saved.own, saved.sum.value, saved.seconds, saved.seconds_by_kind)
                self._output.file.write(Checkpoint(saved.step, totals))

    def _totals(
        self, own: Mark, total: Sum | None, seconds: float, seconds_by_kind: Mapping[str, float] | None = None
    ) -> Totals:
        if total is None:
            work = unknown_work(between(NOTHING_DONE, own))
        else:
            work = between(NOTHING_DONE, total.work, self._ranks.per_replica)
        return totals_of(
            self._initial,
            work,
            seconds=seconds,
            devices=self._device.count,
            joules=None if total is None else total.joules,
            seconds_by_kind=self._stopwatch.seconds_by_kind() if seconds_by_kind is None else seconds_by_kind,
        )

    def _progress(self) -> Progress | None:
        """How far the run is, for its file; called on another thread, so it only looks."""
        if not self.begun or self.finished:
            return None
        step, own = self._reached
        work = between(NOTHING_DONE, own)
        totals = totals_of(
            self._initial,
            work if self._ranks.world_size == 1 else unknown_work(work),
            seconds=self._stopwatch.elapsed_seconds(),
            devices=self._device.count,
            joules=None,
            seconds_by_kind={},
        )
        return Progress(time.time(), step, totals)

    def _epochs(self) -> float | None:
        return None if self._bounds is None else self._bounds.epochs.done()

    def _capacity_flops(self) -> float | None:
        return metrics.capacity_flops(self._capacity_before, time.time() - self._process_started_at, self._device)

    def finish(self, status: Status) -> None:
        """Close everything: the last window, files, threads; then write the report and say where it is."""
        if self.finished:
            return
        self._stopwatch.become("flopwatch")
        self._last_settlement = True
        self._settle()
        self._hardware.stop()
        if self.begun:
            self._apart.run("the last window", self._conclude, status == "failed")
        self._release()
        self._apart.run("news of the GPU", self._pass_on_news)
        if self._output is None or not self.begun:
            return
        if self._final_totals is None:
            self._final_totals = self._totals(self._meter.mark(), None, self._stopwatch.elapsed_seconds())
        how = status, time.time(), self._last_step, self._final_totals, self._stopwatch.seconds_by_kind()
        self._output.file.write(End(*how, self._epochs()))
        self._output.finish(report=self._options.report)

    def _conclude(self, after_an_error: bool) -> None:
        """The last window and the totals, as far as the other ranks have published theirs or do in a moment."""
        if self._latest.steps > self._steps_closed:
            self._close_window()
        last = self._sum_here(self._meter.mark())
        seconds = _DEVICE_SECONDS_AFTER_AN_ERROR if after_an_error else _DEVICE_SECONDS
        self._windows.wait_for_device(seconds, self._stopwatch.resolve)
        moment = _RANKS_SECONDS if not after_an_error and self._ranks.are_well() else _MOMENT_SECONDS
        until = time.monotonic() + moment
        for pending in (*self._windows.sums(), *(each.sum for each in self._checkpoints), last):
            if pending is not None:
                self._ranks.wait_for(pending, until)
        self._publish_complete()
        total = None if last is None else last.value
        self._final_totals = self._totals(self._meter.mark(), total, self._stopwatch.elapsed_seconds())
        if self._publisher is not None:
            self._apart.run("the last share of epochs", self._publisher.conclude, self._epochs())
        self._ranks.finish()
        self._describe_change()

    def abandon(self) -> None:
        """Let go of everything after an error of our own; what was measured stays."""
        try:
            self._release()
        finally:
            self._ranks.leave()
        if self._output is not None:
            self._output.file.write(Event(time.time(), "flopwatch failed here; nothing was measured from here on"))
            self._output.file.close()

    def _release(self) -> None:
        self.finished = True
        bar = [] if self._output is None else [self._output.progress.remove]
        for undo in (self._tap.remove, self._counting.release, self._autocast.detach, self._hardware.stop, *bar):
            self._apart.run("cleaning up", undo)

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

    def _describe_change(self) -> None:
        """Write down that batches turned out to cost differently."""
        changed = self._counting.at_the_end()
        if changed is not None and self._output is not None:
            self._output.file.write(changed)

    def _window_is_due(self, step: int) -> bool:
        """Whether this step ends a window; the first rank's windows are those of the run."""
        if self._first_window or (self._bounds is not None and step == self._bounds.last_step):
            return True
        if self._options.every_n_steps is not None:
            return step % self._options.every_n_steps == 0
        seconds, steps = self._stopwatch.lap_seconds(), self._meter.mark().steps - self._steps_closed
        return self._ranks.ends_window(step, steps, seconds, self._options.every_n_seconds)

    def _close_window(self) -> None:
        """End a window at the last step; it is published as soon as the device and the other ranks have come there."""
        self._counting.check_soon()
        ticket, own = self._stopwatch.lap(), self._latest
        self._steps_closed = own.steps
        pending = self._ranks.sum_at(self._last_step, own, self._stopwatch.own_seconds(), window=True)
        if self._ranks.rank == 0:
            assert pending is not None
            self._windows.close(
                Boundary(
                    step=self._last_step,
                    axis=self._axis,
                    at=time.time(),
                    elapsed_seconds=self._stopwatch.elapsed_seconds(),
                    own=own,
                    ticket=ticket,
                    sum=pending,
                    first=self._first_window,
                    epochs=self._epochs(),
                )
            )
        else:
            self._pass_on_news()
        self._first_window = False

    def _read(self, whole_window: bool) -> RankReading:
        """What this rank's GPU did; on the thread that publishes it."""
        telemetry = self._hardware.take() if whole_window else _NOTHING_READ
        if whole_window:
            self._own_telemetry = telemetry
        return RankReading(telemetry, self._hardware.joules(), self._hardware.gpu())

    def _publish_complete(self) -> None:
        self._write_checkpoints()
        for closed in self._windows.complete():
            telemetry = None if closed.total is None else closed.total.telemetry
            if closed.total is None and not self._unsummed:
                self._unsummed = True
                reason = closed.boundary.sum.why_unknown
                _logger.warning("the ranks could not be summed: %s; what all did together is not known", reason)
            judged = closed.total is not None and not closed.boundary.first
            self._pass_on_news(self._own_telemetry if judged else None, telemetry)
            if self._publisher is not None:
                totals = self._totals(closed.boundary.own, closed.total, closed.boundary.elapsed_seconds)
                then = totals, self._device, self._capacity_flops(), self._last_step
                self._apart.run("publishing a window", self._publisher.publish, closed, *then)

    def _pass_on_news(self, own: Telemetry | None = None, everyone: Telemetry | None = None) -> None:
        for record in self._hardware.news(self._last_step, own, everyone):
            if self._output is not None:
                self._output.file.write(record)
