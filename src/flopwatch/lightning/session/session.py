"""One `fit`: the parts that count, time, read clocks and write, and the order in which they are asked."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flopwatch.lightning.apart import Apart
from flopwatch.lightning.counting.guarded import GuardedCounting
from flopwatch.lightning.devices import address_of, no_telemetry
from flopwatch.lightning.hardware import HardwareWatch
from flopwatch.lightning.memory import MemoryReader
from flopwatch.lightning.options import Options
from flopwatch.lightning.output.fit_budgets import Bounds, Spending
from flopwatch.lightning.output.publisher import Publisher
from flopwatch.lightning.output.run_output import Output, run_file_for
from flopwatch.lightning.ranks.ranks import Ranks
from flopwatch.lightning.ranks.reading import PendingSum
from flopwatch.lightning.session.checkpoint_totals import CheckpointTotals, SavedAt, kept_work
from flopwatch.lightning.session.insights import insights_of, trace_name
from flopwatch.lightning.session.ledger import Ledger
from flopwatch.lightning.session.phase import Phase
from flopwatch.lightning.session.restart import Restart
from flopwatch.lightning.session.run_device import RunDevice
from flopwatch.lightning.session.window_clock import WindowClock
from flopwatch.lightning.session.window_ends import WindowEnds
from flopwatch.lightning.timing.device_time import timer_for
from flopwatch.lightning.timing.phases import phases_of
from flopwatch.lightning.timing.profiler_tap import ProfilerTap
from flopwatch.lightning.timing.stopwatch import Kind, Stopwatch
from flopwatch.lightning.trainer import TrainingLoop, logging_step
from flopwatch.report.report import Report
from flopwatch.run import clock
from flopwatch.run.counts import Counts
from flopwatch.run.meter import NOTHING_DONE, Mark
from flopwatch.run.metric_table import METRICS, name
from flopwatch.run.records import Checkpoint, End, Event, Progress, Status, Totals, Work

_logger = logging.getLogger("flopwatch")
# How long the end of a run waits at most: for the device, and for other ranks where all are well or not.
_DEVICE_SECONDS, _DEVICE_SECONDS_AFTER_AN_ERROR = 10.0, 1.0
_RANKS_SECONDS, _MOMENT_SECONDS = 10.0, 0.5


class Session:
    """Everything that flopwatch does during one `fit`.

    Args:
        options: What the user asked for.
        trainer: The Trainer, its strategy set up.
        module: The LightningModule, with its parameters.
        ranks: The run's processes.
        stopwatch: Started when the Trainer was set up.
    """

    def __init__(
        self, options: Options, trainer: TrainingLoop, module: Any, ranks: Ranks, stopwatch: Stopwatch
    ) -> None:
        self.phase = Phase.SET_UP
        self._apart = Apart()
        self._options, self._trainer, self._ranks, self._stopwatch = options, trainer, ranks, stopwatch
        self._name = type(module).__name__
        root = trainer.strategy.root_device
        timer = timer_for(root, stopwatch.clock)
        stopwatch.use(timer)
        self._run_device = RunDevice(options, trainer, module)
        address = self._apart.run("finding the GPU", address_of, root)
        self._hardware = HardwareWatch(
            address, self._run_device.device.boost_clock_hz, stopwatch.in_loop, trainer.global_rank, MemoryReader(root)
        )
        self._counting = GuardedCounting(
            module,
            config=options.config,
            attention=options.attention,
            batch_shape=options.batch_shape,
            flops_per_batch=options.flops_per_batch,
            strategy=type(trainer.strategy).__name__,
            several_ranks=ranks.world_size > 1,
            tensor_core_dtype=self._run_device.tensor_core_dtype,
        )
        self._tap = ProfilerTap(trainer.profiler, stopwatch, self._counting.batch_begins, self._counting.batch_ends)
        self._ledger = Ledger(self._run_device.device, stopwatch, ranks.world_size)
        phases = phases_of(trainer.strategy, module, timer, self._tap, ranks.per_replica)
        self._insights = insights_of(options, trainer, self._counting, phases)
        self._windows = WindowEnds(self._ledger, stopwatch, ranks, self._hardware, self._insights)
        self._window_clock = WindowClock(options, ranks, stopwatch)
        self._checkpoints = CheckpointTotals()
        # Buffers are broadcast before each forward pass, so it waits for other ranks where there are some.
        ddp = type(trainer.strategy).__name__ == "DDPStrategy" and next(module.buffers(), None) is None
        self._marks_forward = ddp and ranks.world_size > 1
        self._last_step = trainer.global_step
        self._axis = 0
        self._latest = NOTHING_DONE
        self._reached = self._last_step, self._latest  # as one value, since another thread reads it
        self._bounds: Bounds | None = None
        self._output: Output | None = None
        self._publisher: Publisher | None = None
        self._final_totals: Totals | None = None
        # Last, since nobody would take it away again if something else failed here.
        self._tap.attach()

    @property
    def has_totals(self) -> bool:
        """Whether training has begun, so that there is something to keep."""
        return self.phase in (Phase.TRAINING, Phase.STOPPING) or self._final_totals is not None

    def begin(self, state: Mapping[str, Any]) -> None:
        """Training is about to start: go on from a checkpoint's state, open the files, start sampling."""
        self._stopwatch.enter("flopwatch")
        trainer = self._trainer
        self._last_step = trainer.global_step
        self._reached = self._last_step, self._latest
        path = run_file_for(self._options.dirpath, trainer.default_root_dir)
        restart = self._ledger.go_on_from(state, self._last_step, path)
        spending = Spending(self._ledger.device.count, self._options.usd_per_device_hour, self._counting.parameters())
        elapsed = self._stopwatch.elapsed_seconds()
        self._bounds = Bounds(trainer, self._options.budgets, self._ledger.initial, elapsed, spending)
        self.phase = Phase.TRAINING
        self._hardware.start()
        self._ranks.start(self._hardware.read, stops=self._options.on_budget == "stop")
        self._ranks.note(self._last_step, self._ledger.meter.mark(), 0.0)
        if trainer.is_global_zero:
            self._open(path, restart, self._bounds, state.get("run_file"))
        else:
            folder = self._options.dirpath or path.parent.parent / "traces"
            self._insights.profiler.write_to(folder)
        self._stopwatch.leave("flopwatch")

    def _open(self, path: Path, restart: Restart, bounds: Bounds, resumed_from: str | None) -> None:
        """Open what the first rank writes to."""
        ledger, trainer = self._ledger, self._trainer
        self._output = Output(trainer, path, self._progress)
        self._output.open([name(key, self._options.prefix) for key in METRICS])
        self._publisher = Publisher(self._options, trainer, self._output, bounds, self._ranks, ledger.began_at)
        self._windows.publish_to(self._output, self._publisher)
        self._insights.profiler.write_to(path.parent, trace_name(path), self._output.file.write)
        self._output.file.write(
            ledger.start_record(
                trainer, self._name, path.parent.name, bounds.budgets, self._options, restart, resumed_from
            )
        )
        for words in (restart.words, no_telemetry(trainer.strategy.root_device)):
            if words is not None:
                _logger.info("%s", words)
        if restart.words is not None:
            self._output.file.write(Event(clock.now(), restart.words))
        if ledger.device.peak_flops_per_second is None:
            _logger.info("no MFU: %s", ledger.device.peak_source)

    def batch_started(self, batch: Any) -> None:
        """A training batch is about to run."""
        self._stopwatch.become("flopwatch")
        self._counting.plan(batch)
        self._stopwatch.become("callbacks")

    def batch_ended(self, batch: Any, outputs: Any, *, skipped: bool) -> None:
        """A training batch was run: count it, and close the window if it is time to."""
        self._stopwatch.become("flopwatch")
        if skipped:
            self._counting.skip()
            self._insights.interrupted()
        else:
            self._count(batch)
        self._settle()
        step: int = self._trainer.global_step
        steps, self._last_step = step - self._last_step, step
        self._ledger.meter.end_batch(steps)
        if steps and self._options.optimizer_flops:
            self._ledger.meter.add(Counts(hardware_flops=self._options.optimizer_flops))
        reached = self._ledger.meter.mark()
        self._reached = step, reached
        self._insights.batch_ended(batch, outputs, ends_step=steps > 0)
        if steps:
            self._latest = reached
            self._step_ended(step)
        self._stopwatch.become("callbacks")

    def _step_ended(self, step: int) -> None:
        self._axis = logging_step(self._trainer)
        last_step = None if self._bounds is None else self._bounds.last_step
        if self._ranks.world_size > 1:
            self._ranks.note(step, self._latest, self._stopwatch.own_seconds())
        ends_window = self._insights.step_ended(step)
        if self._window_clock.is_due(step, self._latest.known.steps, last_step) or ends_window:
            self._close_window()
        self._insights.next_step()
        self._publish_complete()
        self._stop_if_due(step)

    def _stop_if_due(self, step: int) -> None:
        """End training where all ranks have agreed on this step; the first rank looks whether time is up."""
        if self._options.on_budget != "stop":
            return
        elapsed = self._stopwatch.elapsed_seconds()
        step_seconds = elapsed / max(self._latest.known.steps, 1)
        bounds = self._bounds if self._ranks.rank == 0 and not self._ranks.aims_to_stop else None
        if bounds is not None and bounds.is_used_up(elapsed):
            self._ranks.aim_to_stop(step, step, step_seconds)
        if self.phase is Phase.TRAINING and self._ranks.must_stop(step, step_seconds):
            self.phase = Phase.STOPPING
            self._trainer.should_stop = True

    def _settle(self, *, last: bool = False) -> None:
        """Count earlier batches whose lengths are known by now; at the `last` call, all."""
        for work in self._counting.settle(last=last):
            self._ledger.meter.add(work)

    def epoch_started(self) -> None:
        """A training epoch is about to run."""
        self._stopwatch.become("other")
        if self._bounds is not None:
            self._bounds.epochs.begin()

    def epoch_ended(self) -> None:
        """A training epoch was run: end training where a budget is of so many."""
        if self._bounds is not None:
            self._bounds.epochs.end()
        if self._options.on_budget == "stop" and self._bounds is not None and self._bounds.ends_here():
            self.phase = Phase.STOPPING
            self._trainer.should_stop = True

    def _count(self, batch: Any) -> None:
        """Add a batch, and say how it is counted where that is new."""
        if not self._run_device.is_settled:
            self._apart.run("looking at the precision", self._settle_device)
        self._ledger.meter.add(self._counting.count(batch))
        news = self._counting.news()
        if news is not None:
            self._apart.run("describing how batches are counted", self._describe_work, news)

    def _settle_device(self) -> None:
        """Hold the run against another peak where a watched batch multiplied in another precision."""
        products = self._counting.products()
        if products and self._run_device.settle(products):
            self._ledger.device = self._run_device.device
            self._hardware.set_boost_clock(self._ledger.device.boost_clock_hz)
            if self._output is not None:
                self._output.file.write(self._ledger.device)

    def forward_ended(self, loss: Any) -> None:
        """A batch's forward pass was run; with some strategies ranks wait for each other only after it."""
        self._counting.backward_begins(loss)
        self._insights.backward_begins()
        if self._marks_forward:
            self._stopwatch.forward_ended()

    def backward_ended(self) -> None:
        """A batch's backward pass was run."""
        self._counting.backward_ends()
        self._insights.backward_ends()

    def enter(self, kind: Kind) -> None:
        """A kind of time began."""
        self._stopwatch.enter(kind)
        self._insights.interrupted()

    def leave(self, kind: Kind) -> None:
        """A kind of time ended."""
        if kind == "validation":
            self._insights.validated()
        self._stopwatch.leave(kind)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, up to the last step, on the first rank the totals of all.

        Other ranks may still be on their way to this step, and nobody waits for them: then the totals follow in the run
        file.
        """
        totals = self._final_totals or self._totals_at_checkpoint()
        path = None if self._output is None else self._output.run_file()
        follows = self._final_totals is None and self._ranks.world_size > 1
        return self._ledger.state(totals, path, totals_in_run_file=follows)

    def _totals_at_checkpoint(self) -> Totals:
        """The run's totals at the last step as far as they are known at once; the rest is noted to be written later."""
        self._settle()
        own = kept_work(self._ledger.meter.mark(), self._latest, self._trainer.accumulate_grad_batches)
        pending, seconds = self._sum_here(own), self._stopwatch.elapsed_seconds()
        if pending is not None:
            kinds = self._stopwatch.seconds_by_kind()
            self._checkpoints.wait_for(SavedAt(self._last_step, own, seconds, kinds, pending))
        return self._ledger.totals(own, None if pending is None else pending.value, seconds)

    def _sum_here(self, own: Mark) -> PendingSum | None:
        """All ranks' work up to the last step, as much of it as is counted by now."""
        own_seconds = self._stopwatch.own_seconds()
        if self._ranks.world_size > 1:
            self._ranks.note(self._last_step, own, own_seconds)
        return self._ranks.sum_at(self._last_step, own, own_seconds)

    def _write_checkpoints(self) -> None:
        """Write the totals of checkpoints down where all ranks' work is known by now."""
        for saved in self._checkpoints.known():
            if self._output is not None and saved.sum.value is not None:
                totals = self._ledger.totals(saved.own, saved.sum.value, saved.seconds, saved.seconds_by_kind)
                self._output.file.write(Checkpoint(saved.step, totals))

    def _progress(self) -> Progress | None:
        """How far the run is, for its file; called on another thread, so it only looks."""
        runs = self.phase in (Phase.TRAINING, Phase.STOPPING)
        return self._ledger.progress(*self._reached, self._hardware.joules()) if runs else None

    def _epochs(self) -> float | None:
        return None if self._bounds is None else self._bounds.epochs.done()

    def finish(self, status: Status) -> Report | None:
        """Close everything: the last window, files, threads; then write the report and say where it is; return it."""
        if self.phase is Phase.ENDED:
            return None
        self._stopwatch.become("flopwatch")
        self._settle(last=True)
        self._hardware.stop()
        begun = self.phase is not Phase.SET_UP
        if begun:
            self._apart.run("the last window", self._conclude, status == "failed")
        self._release()
        self._apart.run("news of the GPU", self._windows.pass_on_news, self._last_step)
        if self._output is None or not begun:
            self._insights.wait(after_an_error=status != "finished")
            return None
        if self._final_totals is None:
            own, seconds = self._ledger.meter.mark(), self._stopwatch.elapsed_seconds()
            self._final_totals = self._ledger.totals(own, None, seconds)
        how = status, clock.now(), self._last_step, self._final_totals, self._stopwatch.seconds_by_kind()
        self._output.file.write(End(*how, self._epochs()))
        self._insights.wait(after_an_error=status != "finished")
        self._output.finish(report=self._options.report)
        return self._output.report

    def _conclude(self, after_an_error: bool) -> None:
        """The last window and the totals, as far as the other ranks have published theirs or do in a moment."""
        if self._window_clock.has_open(self._latest.known.steps):
            self._close_window()
        last = self._sum_here(self._ledger.meter.mark())
        seconds = _DEVICE_SECONDS_AFTER_AN_ERROR if after_an_error else _DEVICE_SECONDS
        self._windows.wait_for_device(seconds)
        moment = _RANKS_SECONDS if not after_an_error and self._ranks.are_well() else _MOMENT_SECONDS
        until = time.monotonic() + moment
        for pending in (*self._windows.sums(), *self._checkpoints.sums(), last):
            if pending is not None:
                self._ranks.wait_for(pending, until)
        self._publish_complete()
        total = None if last is None else last.value
        own, seconds = self._ledger.meter.mark(), self._stopwatch.elapsed_seconds()
        self._final_totals = self._ledger.totals(own, total, seconds)
        if self._publisher is not None:
            self._apart.run("the last share of epochs", self._publisher.conclude, self._epochs())
        self._ranks.finish()
        changed = self._counting.at_the_end()
        if changed is not None and self._output is not None:
            self._output.file.write(changed)

    def abandon(self) -> None:
        """Let go of everything after an error of our own; what was measured stays."""
        last = None
        with contextlib.suppress(Exception):
            last = self._progress()
        try:
            self._release()
        finally:
            self._ranks.leave()
        if self._output is not None:
            self._output.abandon(last)

    def _release(self) -> None:
        self.phase = Phase.ENDED
        bar = [] if self._output is None else [self._output.close_sinks]
        undo = (self._tap.remove, self._insights.release, self._counting.release)
        for each in (*undo, self._hardware.stop, *bar):
            self._apart.run("cleaning up", each)

    def _describe_work(self, work: Work) -> None:
        if self._output is not None and self._bounds is not None:
            self._output.describe_work(work, self._ledger.device, self._bounds.budgets, self._hardware.driver())

    def _close_window(self) -> None:
        """End a window at the last step; it is published as soon as the device and the other ranks have come there."""
        self._counting.check_soon()
        first, own = not self._window_clock.windows, self._latest
        self._window_clock.closed(own.known.steps)
        self._hardware.note_memory()
        self._windows.close(self._last_step, self._axis, own, first=first, epochs=self._epochs())
        self._insights.window_closed()

    def _publish_complete(self) -> None:
        self._write_checkpoints()
        self._windows.publish_complete(self._last_step)
