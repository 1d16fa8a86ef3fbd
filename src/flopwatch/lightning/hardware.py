"""The run's GPU seen through its driver: starts the sampling thread and turns its news into records and messages."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import TypeVar

from flopwatch.hardware.nvml.lookup import Address
from flopwatch.hardware.sampler import Sampler
from flopwatch.hardware.telemetry import FEWEST_SAMPLES, Telemetry
from flopwatch.lightning.apart import Apart
from flopwatch.lightning.memory import MemoryReader
from flopwatch.lightning.ranks.publishing import RankReading
from flopwatch.run import clock
from flopwatch.run.counts import add
from flopwatch.run.records import Event, Hardware, Memory

_logger = logging.getLogger("flopwatch")
_WINDOWS_IN_A_ROW = 2
_NOTHING_READ = Telemetry()
_T = TypeVar("_T")


class HardwareWatch:
    """One process's GPU; without one, everything is unknown.

    Args:
        address: Where to find the GPU; `None` where there is none that can be read.
        boost_clock_hz: The datasheet's clock.
        in_loop: Tells, on another thread, whether this process is in its training loop.
        rank: Of this process; the first one speaks for all where every one would say the same.
        memory: Reads the memory that PyTorch holds.
    """

    def __init__(
        self,
        address: Address | None,
        boost_clock_hz: float | None,
        in_loop: Callable[[], bool],
        rank: int,
        memory: MemoryReader | None = None,
    ) -> None:
        self._apart = Apart()
        self._sampler = None if address is None else self._ask(Sampler, address, boost_clock_hz, in_loop)
        self._rank, self._memory = rank, memory
        self._memory_now: Memory | None = None
        self._windows_without_others, self._others_missing = 0, False
        self._joules: int | None = 0
        self._last_window = _NOTHING_READ
        self._lock = threading.RLock()

    def start(self) -> None:
        """Start reading."""
        if self._sampler is not None:
            self._ask(self._sampler.start)

    def stop(self) -> None:
        """Read a last time; takes a second at most."""
        if self._sampler is not None:
            self._ask(self._sampler.stop)

    def note_memory(self) -> None:
        """Read PyTorch's memory at a window's end, on the training thread: later it is that of another moment."""
        if self._memory is not None:
            self._memory_now = self._apart.run("reading PyTorch's memory", self._memory.read)

    def read(self, whole_window: bool) -> RankReading:
        """What the GPU did, on the thread that publishes it; over a window where that is at its end."""
        telemetry = _NOTHING_READ
        if whole_window and self._sampler is not None:
            telemetry = self._ask(self._sampler.take) or _NOTHING_READ
        if whole_window:
            self._last_window = telemetry
        return RankReading(telemetry, self.joules(), self.gpu(), self._memory_now)

    def joules(self) -> int | None:
        """Energy so far, in whole joules; unknown while the driver is silent, and for good once some of it is."""
        with self._lock:
            if self._sampler is not None and self._ask(self._sampler.is_silent) is not False:
                return None
            self._joules = add(self._joules, None if self._sampler is None else self._ask(self._sampler.take_joules))
            return self._joules

    def gpu(self) -> str | None:
        """The GPU's UUID where several ranks may share it and its energy; unknown until the driver has answered."""
        return None if self._sampler is None else self._sampler.shared_uuid

    def set_boost_clock(self, boost_clock_hz: float | None) -> None:
        """Hold the GPU against another clock from now on, as for another precision."""
        if self._sampler is not None:
            self._ask(self._sampler.set_boost_clock, boost_clock_hz)

    def driver(self) -> str | None:
        """The driver's version, once it has answered."""
        return None if self._sampler is None else self._ask(self._sampler.driver)

    def _ask(self, function: Callable[..., _T], *arguments: object) -> _T | None:
        return self._apart.run("reading the GPU", function, *arguments)

    def news(self, step: int, everyone: Telemetry | None) -> list[Hardware | Event]:
        """What the run file should hold of it since the last call; every trouble is logged once.

        Args:
            step: The step that training is at.
            everyone: What all ranks' GPUs did over a window; `None` where there is none to judge by.
        """
        if self._sampler is None:
            return []
        return self._ask(self._news, self._sampler, step, everyone) or []

    def _news(self, sampler: Sampler, step: int, everyone: Telemetry | None) -> list[Hardware | Event]:
        records: list[Hardware | Event] = []
        hardware = sampler.hardware()
        if hardware is not None:
            records.append(Hardware(clock.now(), **asdict(hardware)))
        messages = [each.words for each in sampler.troubles() if self._rank == 0 or not each.everywhere]
        if everyone is not None and self._others_are_missing(everyone):
            messages.append("another rank's GPU is not being read, so clocks and energy of the run are unknown")
        for message in messages:
            _logger.warning("%s%s; training continues", "" if self._rank == 0 else f"rank {self._rank}: ", message)
            records.append(Event(clock.now(), f"since step {step:,}: {message}"))
        return records

    def _others_are_missing(self, everyone: Telemetry) -> bool:
        """Return whether another rank's GPU has been unread for too many windows; true only once."""
        if self._last_window.clock_samples < FEWEST_SAMPLES or self._others_missing:
            return False
        self._windows_without_others = 0 if everyone.sm_clock_hz is not None else self._windows_without_others + 1
        self._others_missing = self._windows_without_others >= _WINDOWS_IN_A_ROW
        return self._others_missing
