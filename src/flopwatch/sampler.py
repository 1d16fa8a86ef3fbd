"""One daemon thread that reads one GPU's SM clock once a second, so that training never waits for the driver."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flopwatch import nvml
from flopwatch.errors import DriverError

_logger = logging.getLogger("flopwatch")
INTERVAL_SECONDS = 1.0
_SLOW_CALL_SECONDS = 0.005
_SLOW_CALL_STRETCH = 1000
_CALLS_JUDGED = 3


@dataclass(frozen=True)
class ClockSamples:
    """SM clocks read since the last time; `None` without a sample."""

    count: int
    mean_hz: float | None
    min_hz: float | None


class ClockSampler:
    """Samples the SM clock of one GPU until it is stopped or the driver stops answering.

    Args:
        uuid: Of the GPU, as CUDA or NVML gives it.
        interval_seconds: Time between two samples; where the driver takes over 5 ms even for the quickest of the last
            three calls (a single one may have waited for Python's lock), a thousand times that.
    """

    def __init__(self, uuid: str, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._uuid = uuid
        self._interval_seconds = interval_seconds
        self._lock = threading.Lock()
        self._clocks: list[float] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flopwatch-nvml", daemon=True)

    def start(self) -> None:
        """Start the thread; the driver is opened inside it."""
        self._thread.start()

    def stop(self) -> None:
        """Stop within a second, also if the driver hangs."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def take(self) -> ClockSamples:
        """The samples since the last call."""
        with self._lock:
            clocks, self._clocks = self._clocks, []
        if not clocks:
            return ClockSamples(0, None, None)
        return ClockSamples(len(clocks), sum(clocks) / len(clocks), min(clocks))

    def _run(self) -> None:
        try:
            handle = nvml.handle_by_uuid(self._uuid)
            self._sample_until_stopped(lambda: nvml.sm_clock_hz(handle))
        except DriverError as error:
            _logger.warning("GPU clocks are not read any more: %s; training goes on", error)

    def _sample_until_stopped(self, read: Callable[[], Any]) -> None:
        interval = self._interval_seconds
        took: deque[float] = deque(maxlen=_CALLS_JUDGED)
        while not self._stopped.wait(interval):
            started = time.perf_counter()
            clock = read()
            took.append(time.perf_counter() - started)
            if clock is not None:
                with self._lock:
                    self._clocks.append(clock)
            slow = len(took) == _CALLS_JUDGED and min(took) > _SLOW_CALL_SECONDS
            interval = max(self._interval_seconds, min(took) * _SLOW_CALL_STRETCH) if slow else self._interval_seconds
