import time

import pytest

from flopwatch.run import clock


def test_a_clock_that_is_set_moves_no_date(monkeypatch):
    before = clock.now()
    monkeypatch.setattr(clock.time, "time", lambda: 0.0)
    assert before <= clock.now() < before + 60


def test_the_date_goes_on_with_the_steady_clock(monkeypatch):
    monkeypatch.setattr(clock, "_STARTED_AT", 1000.0)
    monkeypatch.setattr(clock, "steady_seconds", lambda: 250.5)
    assert clock.now() == 1250.5


def test_where_no_clock_counts_the_machines_sleep_the_monotonic_one_is_taken(monkeypatch):
    monkeypatch.setattr(clock, "_STEADY", None)
    monkeypatch.setattr(clock.time, "monotonic", lambda: 42.0)
    assert clock.steady_seconds() == 42.0


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system has no such clock")
def test_the_steady_clock_counts_the_machines_sleep_where_it_can(monkeypatch):
    monkeypatch.setattr(clock.time, "clock_gettime", lambda which: {time.CLOCK_BOOTTIME: 7.0}[which])
    assert clock.steady_seconds() == 7.0
