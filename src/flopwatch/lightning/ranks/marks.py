"""Which steps a rank keeps its work of, so that all ranks have some in common without telling each other."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from flopwatch.run.meter import Mark

_SHORTEST_WINDOW = 0.7  # of what is wanted; the longest is twice that
_KEPT_OF_A_KIND, _KEPT_BY_NAME = 2, 4
_FINER = 1
_MOST_PUBLISHED = 8


@dataclass(frozen=True)
class StepMark:
    """A rank's work up to a step, as it is published.

    Attributes:
        step: The step.
        work: All that it has done so far.
        own_seconds: Time in which it did not wait for others.
    """

    step: int
    work: Mark
    own_seconds: float


def ends_window(step: int, steps: int, seconds: float, wanted_seconds: float) -> bool:
    """Whether a window ends here: once it is nearly as long as wanted, at the roundest step to come.

    A round step is a multiple of a power of two. Processes whose clocks differ a little come to the same steps by this,
    and those with another pace to steps of which the others know.

    Args:
        step: The step that was just done.
        steps: Steps since the last window.
        seconds: Their time.
        wanted_seconds: How long a window should be; it is from 0.7 to 1.4 times that.
    """
    shortest = _SHORTEST_WINDOW * wanted_seconds
    if seconds < shortest or steps <= 0:
        return False
    in_shortest = steps * shortest / seconds
    return step % _power_of_two_below(in_shortest) == 0


def _power_of_two_below(number: float) -> int:
    return 1 << max(math.floor(math.log2(number)), 0) if number >= 1 else 1


class RecentMarks:
    """Marks at the last two steps of every roundness, and at the last few that were kept by name.

    A rank that is d steps behind another one has a step in common with it that lies less than 4 d back.
    """

    def __init__(self) -> None:
        self._by_roundness: dict[int, deque[StepMark]] = {}
        self._kept: deque[StepMark] = deque(maxlen=_KEPT_BY_NAME)
        self._last: StepMark | None = None

    def note(self, mark: StepMark) -> None:
        """Note the work up to a step that was just done."""
        self._last = mark
        roundness = mark.step & -mark.step
        same = self._by_roundness.get(roundness)
        if same is None:
            same = self._by_roundness[roundness] = deque(maxlen=_KEPT_OF_A_KIND)
        same.append(mark)

    def keep(self) -> None:
        """Publish the last step, round or not; all ranks keep the same ones, such as checkpoint steps."""
        if self._last is not None:
            self._kept.append(self._last)

    def published(self, window_steps: int) -> list[StepMark]:
        """Return the marks that other ranks may look for.

        Args:
            window_steps: About how many steps a window has; steps much less round end no window.
        """
        least = _power_of_two_below(window_steps) >> _FINER
        round_ones = [each for roundness, same in self._by_roundness.items() if roundness >= least for each in same]
        newest = sorted(round_ones, key=lambda each: each.step)[-_MOST_PUBLISHED:]
        by_step = {each.step: each for each in (*newest, *self._kept)}
        return [by_step[step] for step in sorted(by_step)]
