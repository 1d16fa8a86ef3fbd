"""Marks in a queue, on the CPU and on a device that stands in for one."""

from types import SimpleNamespace

import pytest
import torch

from flopwatch.lightning.timing import device_time
from flopwatch.lightning.timing.device_time import EventTimer, HostTimer, timer_for


class Clock:
    now = 5.0

    def __call__(self):
        return self.now


class Event:
    """An event of a stream that passes when it is told to; milliseconds, as torch's."""

    passed, at = False, 0.0

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self, stream):
        self.stream = stream

    def query(self):
        return self.passed

    def elapsed_time(self, later):
        return later.at - self.at


@pytest.fixture
def cuda(monkeypatch):
    monkeypatch.setattr(torch, "cuda", SimpleNamespace(Event=Event, current_stream=lambda device: f"of {device}"))


def test_on_a_cpu_a_mark_has_passed_at_once_and_the_processs_clock_tells():
    clock = Clock()
    timer = timer_for(torch.device("cpu"), clock)
    first = timer.mark()
    clock.now += 2.5
    assert isinstance(timer, HostTimer)
    assert (first.passed(), first.seconds_until(timer.mark())) == (True, 2.5)
    assert (timer.sees_stalls, timer.is_immediate) == (True, True)


def test_a_queue_that_cannot_be_marked_shows_no_stalls():
    timer = timer_for(torch.device("mps"), Clock())
    assert isinstance(timer, HostTimer)
    assert (timer.sees_stalls, timer.is_immediate) == (False, False)


def test_a_mark_on_a_device_has_passed_when_its_event_has_and_is_not_waited_for(cuda):
    timer = timer_for(torch.device("cuda", 1), Clock())
    assert isinstance(timer, EventTimer)
    assert (timer.sees_stalls, timer.is_immediate) == (True, False)
    first, later = timer.mark(), timer.mark()
    assert first._event.stream == "of cuda:1"
    assert not first.passed()
    first._event.passed, later._event.at = True, 1500.0
    assert first.passed()
    assert first.seconds_until(later) == 1.5


def test_a_device_whose_events_fail_is_told_by_the_clock(monkeypatch, caplog):
    def broken(device):
        raise RuntimeError("no driver")

    monkeypatch.setattr(device_time, "EventTimer", broken)
    with caplog.at_level("DEBUG", logger="flopwatch"):
        timer = timer_for(torch.device("cuda"), Clock())
    assert isinstance(timer, HostTimer)
    assert not timer.sees_stalls
    assert "no events on cuda: no driver" in caplog.text
