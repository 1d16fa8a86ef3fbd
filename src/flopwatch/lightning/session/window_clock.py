"""When a window is due: after the first step, every so many seconds or steps, and at the last step."""

from __future__ import annotations

from flopwatch.lightning.options import Options
from flopwatch.lightning.ranks.ranks import Ranks
from flopwatch.lightning.timing.stopwatch import Stopwatch


class WindowClock:
    """Says at each step whether it ends a window; the first rank's windows are those of the run.

    Args:
        options: What the user asked for.
        ranks: The run's processes.
        stopwatch: This process's time.
    """

    def __init__(self, options: Options, ranks: Ranks, stopwatch: Stopwatch) -> None:
        self._options, self._ranks, self._stopwatch = options, ranks, stopwatch
        self.windows = 0
        self._steps_closed = 0

    def is_due(self, step: int, steps: int, last_step: float | None) -> bool:
        """Whether a step ends a window.

        Args:
            step: The Trainer's step.
            steps: Steps that this process has done.
            last_step: The run's last step, where it is known.
        """
        if not self.windows or step == last_step:
            return True
        if self._options.every_n_steps is not None:
            return step % self._options.every_n_steps == 0
        seconds, since = self._stopwatch.lap_seconds(), steps - self._steps_closed
        return self._ranks.ends_window(step, since, seconds, self._options.every_n_seconds)

    def has_open(self, steps: int) -> bool:
        """Whether steps were done since the last window's end."""
        return steps > self._steps_closed

    def closed(self, steps: int) -> None:
        """A window has ended."""
        self._steps_closed = steps
        self.windows += 1
