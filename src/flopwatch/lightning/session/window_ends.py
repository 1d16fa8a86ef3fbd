"""Ends windows at a step, and publishes them when the device and the other ranks have come there."""

from __future__ import annotations

from flopwatch.hardware.telemetry import Telemetry
from flopwatch.lightning.apart import Apart
from flopwatch.lightning.hardware import HardwareWatch
from flopwatch.lightning.output.publisher import Publisher
from flopwatch.lightning.output.run_output import Output
from flopwatch.lightning.output.windows import Boundary, Windows
from flopwatch.lightning.ranks.ranks import Ranks
from flopwatch.lightning.ranks.reading import PendingSum
from flopwatch.lightning.session.insights import Insights
from flopwatch.lightning.session.ledger import Ledger
from flopwatch.lightning.timing.stopwatch import Stopwatch
from flopwatch.run import clock
from flopwatch.run.meter import Mark


class WindowEnds:
    """Closes and publishes windows.

    Args:
        ledger: The run's books.
        stopwatch: This process's time.
        ranks: The run's processes.
        hardware: This process's GPU.
        insights: What is seen inside of steps.
    """

    def __init__(
        self, ledger: Ledger, stopwatch: Stopwatch, ranks: Ranks, hardware: HardwareWatch, insights: Insights
    ) -> None:
        self._ledger, self._stopwatch, self._ranks = ledger, stopwatch, ranks
        self._hardware, self._insights = hardware, insights
        self._windows = Windows()
        self._apart = Apart()
        self._output: Output | None = None
        self._publisher: Publisher | None = None

    def publish_to(self, output: Output, publisher: Publisher) -> None:
        """Publish from now on; the first rank does."""
        self._output, self._publisher = output, publisher

    def close(self, step: int, axis: int, own: Mark, *, first: bool, epochs: float | None) -> None:
        """End a window at a step.

        Args:
            step: The step that was just done.
            axis: The same on the axis of Lightning's own metrics.
            own: This process's work up to it.
            first: Whether it is the first one, which is warm-up.
            epochs: Done so far, where that is known.
        """
        ticket, insight = self._stopwatch.lap(), self._insights.take()
        pending = self._ranks.sum_at(step, own, self._stopwatch.own_seconds(), window=True)
        if pending is None:
            self.pass_on_news(step)
            return
        self._windows.close(
            Boundary(
                step=step,
                axis=axis,
                at=clock.now(),
                elapsed_seconds=self._stopwatch.elapsed_seconds(),
                own=own,
                ticket=ticket,
                sum=pending,
                first=first,
                epochs=epochs,
                insight=insight,
            )
        )

    def publish_complete(self, step: int) -> None:
        """Publish the windows that have become complete.

        Args:
            step: The step that training is at.
        """
        for closed in self._windows.complete():
            total = None if closed.boundary.first else closed.total
            self.pass_on_news(step, None if total is None else total.telemetry)
            if self._publisher is not None:
                boundary, ledger = closed.boundary, self._ledger
                totals = ledger.totals(boundary.own, closed.total, boundary.elapsed_seconds)
                then = totals, ledger.device, ledger.capacity_flops(), step
                self._apart.run("publishing a window", self._publisher.publish, closed, *then)

    def pass_on_news(self, step: int, everyone: Telemetry | None = None) -> None:
        """Write down what the driver has said since the last time."""
        for record in self._hardware.news(step, everyone):
            if self._output is not None:
                self._output.file.write(record)

    def wait_for_device(self, seconds: float) -> None:
        """Wait for so long at most until the device has come to the last window's end."""
        self._windows.wait_for_device(seconds, self._stopwatch.resolve)

    def sums(self) -> list[PendingSum]:
        """Return what incomplete windows are waiting for."""
        return self._windows.sums()
