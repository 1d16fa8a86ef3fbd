"""What a window tells of its steps beside their work: the phases of one of them, and the loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flopwatch.lightning.apart import Apart
from flopwatch.lightning.counting.guarded import GuardedCounting
from flopwatch.lightning.losses import Losses
from flopwatch.lightning.options import Options
from flopwatch.lightning.output.windows import Insight
from flopwatch.lightning.profile import StepProfiler
from flopwatch.lightning.timing.phases import Phases
from flopwatch.lightning.trainer import TrainingLoop

_PHASES = "the phases of a step"


class Insights:
    """Watches phases and losses; an error in one costs that one alone.

    Args:
        counting: Tells what a batch cost, and whether it was watched.
        phases: Samples steps.
        losses: Collects losses.
        profiler: Profiles steps.
    """

    def __init__(self, counting: GuardedCounting, phases: Phases, losses: Losses, profiler: StepProfiler) -> None:
        self._counting, self._phases, self._losses, self.profiler = counting, phases, losses, profiler
        self._apart = Apart()

    def backward_begins(self) -> None:
        """A backward pass begins."""
        if self._phases.is_sampling:
            self._apart.run(_PHASES, self._phases.enter, "backward")

    def backward_ends(self) -> None:
        """It has finished."""
        if self._phases.is_sampling:
            self._apart.run(_PHASES, self._phases.leave)

    def batch_ended(self, batch: Any, outputs: Any, *, ends_step: bool) -> None:
        """Note a batch that was run and counted.

        Args:
            batch: As the DataLoader gave it.
            outputs: What Lightning keeps of the training step's result.
            ends_step: Whether an optimizer step ended with it.
        """
        self._apart.run("the loss", self._losses.add, outputs)
        if self._phases.is_sampling:
            self._apart.run(_PHASES, self._sample, batch, ends_step)

    def _sample(self, batch: Any, ends_step: bool) -> None:
        watched = self._counting.was_watched()
        self._phases.batch_ended(watched=watched, cost=lambda: self._counting.cost(batch), ends_step=ends_step)

    def step_ended(self, step: int) -> bool:
        """An optimizer step has ended.

        Returns:
            Whether a window ought to end here.
        """
        if not self.profiler.is_wanted:
            return False
        self._apart.run("profiling", self.profiler.step_ended, step)
        self._counting.hold(self.profiler.is_active)
        return bool(self._apart.run("profiling", self.profiler.ends_window))

    def window_closed(self) -> None:
        """A window has ended: begin to profile, if it is time to."""
        if self.profiler.is_wanted:
            self._apart.run("profiling", self.profiler.window_closed)
            self._counting.hold(self.profiler.is_active)

    def next_step(self) -> None:
        """The next step begins, and may be sampled."""
        if self._phases.is_wanted and not self.profiler.is_active:
            self._apart.run(_PHASES, self._phases.step_ended)

    def interrupted(self) -> None:
        """Something other than training came between two batches."""
        self._apart.run(_PHASES, self._phases.give_up)

    def validated(self) -> None:
        """Validation has ended."""
        self._apart.run("the loss", self._losses.validated)

    def take(self) -> Insight:
        """Return what is known of the window that ends now."""
        sample = self._apart.run(_PHASES, self._phases.take)
        losses = self._apart.run("the loss", self._losses.take)
        return Insight(sample, losses, profiled=bool(self._apart.run("profiling", self.profiler.take)))

    def release(self) -> None:
        """Let go of profilers and marks."""
        self.interrupted()
        self._apart.run("profiling", self.profiler.give_up)

    def wait(self, *, after_an_error: bool) -> None:
        """Wait for a trace that is being written, for longer where training ended well."""
        self._apart.run("profiling", lambda: self.profiler.wait(after_an_error=after_an_error))


def insights_of(options: Options, trainer: TrainingLoop, counting: GuardedCounting, phases: Phases) -> Insights:
    """Return what watches the inside of a Trainer's steps.

    Args:
        options: What the user asked for.
        trainer: The Trainer.
        counting: Counts its batches.
        phases: Samples its steps.
    """
    losses = Losses(trainer, options.loss, options.val_loss)
    profiler = StepProfiler(options.profile, trainer.global_rank, trainer.world_size, trainer.profiler)
    return Insights(counting, phases, losses, profiler)


def trace_name(run_file: Path) -> str:
    """Return the name that a run file's traces begin with: "trace", and as the run file what tells it from others."""
    return run_file.stem.replace("run", "trace", 1)
