"""Where one optimizer step of a window spends the device's time: a few marks between its phases."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from flopwatch.lightning.counting.counter import Cost
from flopwatch.lightning.timing.device_time import DeviceTimer, QueueMark
from flopwatch.lightning.timing.profiler_tap import Listener, ProfilerTap
from flopwatch.run.counts import add, subtract
from flopwatch.run.records import StepPhases

_logger = logging.getLogger("flopwatch")
Phase = Literal["between", "transfer", "forward", "backward", "clip", "optimizer"]


def actions_of(strategy: Any, module: Any) -> dict[str, Phase]:
    """Lightning's profiler actions during which a batch is in a phase; they nest. Backward has hooks of its own."""
    of_strategy, of_module = f"[Strategy]{type(strategy).__name__}", f"[LightningModule]{type(module).__name__}"
    return {
        f"{of_strategy}.batch_to_device": "transfer",
        f"{of_strategy}.training_step": "forward",
        f"{of_module}.configure_gradient_clipping": "clip",
        f"{of_module}.optimizer_step": "optimizer",
        "optimizer_step": "optimizer",  # of manual optimization
    }


@dataclass
class Sample:
    """One step: each phase that began, with the mark where it did, and what its batches ran.

    Attributes:
        began: Phases and their marks, in order.
        ranks_per_replica: How many ranks share what a batch costs.
        cost: Of its batches; `None` once one's is unknown.
        end: The mark after the step.
    """

    began: list[tuple[Phase, QueueMark]]
    ranks_per_replica: int = 1
    cost: Cost | None = field(default_factory=lambda: Cost(0, 0, 0))
    end: QueueMark | None = None

    def add(self, cost: Cost | None) -> None:
        """Add a batch."""
        if self.cost is None or cost is None:
            self.cost = None
            return
        hardware_flops = add(self.cost.hardware_flops, cost.hardware_flops)
        forward_flops = add(self.cost.forward_flops, cost.forward_flops)
        self.cost = Cost(self.cost.flops + cost.flops, hardware_flops, forward_flops)

    def phases(self) -> StepPhases | None:
        """Return the seconds of each phase, or `None` if the device has not come to the end yet."""
        if self.end is None or not all(mark.passed() for mark in (*(mark for _, mark in self.began), self.end)):
            return None
        seconds: dict[str, float] = defaultdict(float)
        ends = [*(mark for _, mark in self.began[1:]), self.end]
        for (phase, mark), end in zip(self.began, ends, strict=True):
            seconds[phase] += mark.seconds_until(end)
        if min(seconds.values()) < 0:  # marks on streams that do not wait for each other
            return None
        found = StepPhases(
            seconds=self.began[0][1].seconds_until(self.end),
            transfer_seconds=seconds["transfer"],
            forward_seconds=seconds["forward"],
            backward_seconds=seconds["backward"],
            clip_seconds=seconds["clip"],
            optimizer_seconds=seconds["optimizer"],
        )
        if self.cost is None or self.cost.forward_flops is None or not self.ranks_per_replica:
            return found
        ranks_per_replica = self.ranks_per_replica
        again = subtract(self.cost.hardware_flops, self.cost.flops)
        return replace(
            found,
            forward_flops=self.cost.forward_flops // ranks_per_replica,
            backward_flops=(self.cost.flops - self.cost.forward_flops) // ranks_per_replica,
            recomputed_flops=None if again is None else again // ranks_per_replica,
        )


class Phases:
    """Takes a sample of every window: one step, none of whose batches is watched or interrupted.

    Args:
        timer: Makes marks.
        tap: Tells of Lightning's actions while a sample is taken.
        actions: Which of them are which phase.
        automatic: Whether Lightning optimizes, so that no phase is hidden from it.
        ranks_per_replica: How many ranks share what a batch costs.
    """

    def __init__(
        self,
        timer: DeviceTimer,
        tap: ProfilerTap,
        actions: dict[str, Phase],
        *,
        automatic: bool,
        ranks_per_replica: int = 1,
    ) -> None:
        self._timer, self._tap, self._ranks_per_replica = timer, tap, ranks_per_replica
        tap.interrupts = self.give_up
        self._needed: set[Phase] = {"forward", "backward"} if automatic else {"forward", "backward", "optimizer"}
        self._listeners = {name: self._listener(phase) for name, phase in actions.items()}
        self._stack: list[Phase] = []
        self._wanted = timer.sees_stalls
        self._sample: Sample | None = None
        self._done: Sample | None = None

    def _listener(self, phase: Phase) -> Listener:
        return Listener(lambda: self.enter(phase), self.leave)

    def enter(self, phase: Phase) -> None:
        """Note that a phase begins inside the present one."""
        self._stack.append(phase)
        self._mark()

    def leave(self) -> None:
        """Note that the innermost phase ends."""
        if len(self._stack) > 1:
            self._stack.pop()
            self._mark()

    def _mark(self) -> None:
        """Note what begins now; an error here would reach the training step."""
        if self._sample is None:
            return
        try:
            self._sample.began.append((self._stack[-1], self._timer.mark()))
        except Exception as error:
            _logger.debug("no phases: %s", error)
            self._sample = None

    @property
    def is_wanted(self) -> bool:
        """Return whether the window has no sample yet."""
        return self._wanted

    @property
    def is_sampling(self) -> bool:
        """Return whether a sample is being taken."""
        return self._sample is not None

    def step_ended(self) -> None:
        """Begin a sample where one is wanted; a few microseconds once a window."""
        if self._wanted and self._sample is None:
            self._stack = ["between"]
            self._sample = Sample([("between", self._timer.mark())], self._ranks_per_replica)
            self._tap.listen(self._listeners)

    def batch_ended(self, *, watched: bool, cost: Callable[[], Cost | None], ends_step: bool) -> None:
        """Go on with the sample, or give it up where watching made the batch slower.

        Args:
            watched: Whether the batch was.
            cost: Gives what the batch cost.
            ends_step: Whether an optimizer step ended with it.
        """
        if self._sample is None:
            return
        if watched:
            self.give_up()
            return
        self._sample.add(cost())
        if ends_step:
            self._sample.end = self._timer.mark()
            if self._needed <= {phase for phase, _ in self._sample.began}:
                self._done, self._wanted = self._sample, False
            self.give_up()

    def give_up(self) -> None:
        """Take another step's sample instead, as where validation came between."""
        if self._sample is not None:
            self._sample = None
            self._tap.ignore(self._listeners)

    def take(self) -> Sample | None:
        """Return the sample of the window that ends now, if there is one; the next window gets another."""
        done, self._done = self._done, None
        self._wanted = self._timer.sees_stalls
        return done


def phases_of(strategy: Any, module: Any, timer: DeviceTimer, tap: ProfilerTap, ranks_per_replica: int) -> Phases:
    """Return what samples the steps of a module.

    Args:
        strategy: The Trainer's.
        module: The LightningModule.
        timer: Marks the device's queue.
        tap: Listens to the Trainer's profiler.
        ranks_per_replica: How many ranks share what a batch costs.
    """
    automatic = bool(module.automatic_optimization)
    actions = actions_of(strategy, module)
    return Phases(timer, tap, actions, automatic=automatic, ranks_per_replica=ranks_per_replica)
