"""Windows closed at a step and published when they are complete, by parts that the test holds in its hand."""

from types import SimpleNamespace

import pytest

from flopwatch.hardware.telemetry import Telemetry
from flopwatch.lightning.output.windows import Insight
from flopwatch.lightning.ranks.reading import PendingSum, Sum
from flopwatch.lightning.session.window_ends import WindowEnds
from flopwatch.lightning.timing.stopwatch import Lap, LapTicket
from flopwatch.run.counts import Counts
from flopwatch.run.meter import Mark
from flopwatch.run.records import Event

OWN = Mark(Counts(flops=20, steps=2, batches=2))
NEWS = Event(1.0, "the driver went away")


class Parts:
    """What windows are made of; the sum of all ranks comes when `settle` is called."""

    def __init__(self, has_sum=True):
        self.pending = PendingSum(2, True) if has_sum else None
        self.published, self.written, self.asked = [], [], []
        stopwatch = SimpleNamespace(
            lap=lambda: LapTicket(None, Lap(10.0, 1.0, 12.0)),
            own_seconds=lambda: 3.0,
            elapsed_seconds=lambda: 60.0,
        )
        ledger = SimpleNamespace(
            totals=lambda own, total, seconds: (own, total, seconds), device="H100", capacity_flops=lambda: 1e15
        )
        ranks = SimpleNamespace(sum_at=lambda *_, window: self.pending)
        hardware = SimpleNamespace(news=self._news)
        insights = SimpleNamespace(take=lambda: Insight("sample", None))
        self.ends = WindowEnds(ledger, stopwatch, ranks, hardware, insights)

    def _news(self, step, everyone):
        self.asked.append((step, everyone))
        return [NEWS]

    def publish(self, function=None):
        output = SimpleNamespace(file=SimpleNamespace(write=self.written.append))
        publisher = SimpleNamespace(publish=function or (lambda *what: self.published.append(what)))
        self.ends.publish_to(output, publisher)
        return self

    def settle(self):
        self.sum = Sum(OWN, 5, Telemetry(power_watts=700.0))
        self.pending.settle(self.sum)


def close(parts, first=False):
    parts.ends.close(2, 1, OWN, first=first, epochs=0.5)


def test_a_window_is_published_once_its_sum_is_there():
    parts = Parts().publish()
    close(parts)
    parts.ends.publish_complete(3)
    assert parts.published == []
    assert parts.ends.sums() == [parts.pending]
    parts.settle()
    parts.ends.publish_complete(4)
    parts.ends.publish_complete(5)
    ((closed, totals, device, capacity, step),) = parts.published
    assert (closed.boundary.step, closed.boundary.axis, closed.boundary.epochs) == (2, 1, 0.5)
    assert (closed.counts.flops, closed.boundary.insight.sample) == (20, "sample")
    assert (totals, device, capacity, step) == ((OWN, parts.sum, 60.0), "H100", 1e15, 4)


@pytest.mark.parametrize(("first", "telemetry"), [(False, Telemetry(power_watts=700.0)), (True, None)])
def test_the_driver_is_judged_by_every_window_but_the_warm_up(first, telemetry):
    parts = Parts().publish()
    close(parts, first)
    parts.settle()
    parts.ends.publish_complete(4)
    assert parts.asked == [(4, telemetry)]
    assert parts.written == [NEWS]


def test_a_rank_that_publishes_to_the_first_one_has_news_of_its_own():
    parts = Parts(has_sum=False)
    close(parts)
    assert parts.asked == [(2, None)]
    assert parts.ends.sums() == []
    parts.ends.publish_complete(3)
    assert parts.published == []


def test_publishing_that_fails_costs_that_window_alone(caplog):
    parts = Parts().publish(lambda *_: 1 / 0)
    close(parts)
    parts.settle()
    parts.ends.publish_complete(3)
    assert "publishing a window failed, everything else continues" in caplog.text
