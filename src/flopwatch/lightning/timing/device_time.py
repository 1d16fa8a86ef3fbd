"""Marks in a device's queue of work: when the device passed them, asked without ever waiting for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

import torch

_logger = logging.getLogger("flopwatch")
_WITH_EVENTS = ("cuda", "xpu")
_MILLI = 1e-3


class QueueMark(Protocol):
    """A place in a queue of work."""

    def passed(self) -> bool:
        """Return whether the device has reached this place; never waits."""

    def seconds_until(self, later: Any) -> float:
        """Device seconds from here to a later mark of the same timer; both must have been passed."""


class DeviceTimer(Protocol):
    """Makes marks.

    `sees_stalls` tells whether they show for how long the device stood still, `is_immediate` that it never lags behind.
    """

    sees_stalls: bool
    is_immediate: bool

    def mark(self) -> QueueMark:
        """Return a mark after all work queued so far."""


class _Moment:
    """A mark where work is done as it is asked for."""

    __slots__ = ("_at",)

    def __init__(self, at: float) -> None:
        self._at = at

    def passed(self) -> bool:
        return True

    def seconds_until(self, later: _Moment) -> float:
        return later._at - self._at


class HostTimer:
    """Marks by the process's own clock: exact on a CPU.

    On a device with a queue that cannot be marked, time in callbacks may be time in which the device trains; it is
    then taken for training, so that an MFU is rather too low than too high.

    Args:
        clock: Monotonic seconds.
        queued: Whether the device works through a queue.
    """

    def __init__(self, clock: Callable[[], float], *, queued: bool = False) -> None:
        self._clock = clock
        self.sees_stalls = self.is_immediate = not queued

    def mark(self) -> _Moment:
        """Return a mark at the current time."""
        return _Moment(self._clock())


class _EventMark:
    """An event on a stream."""

    __slots__ = ("_event",)

    def __init__(self, event: Any) -> None:
        self._event = event

    def passed(self) -> bool:
        return bool(self._event.query())

    def seconds_until(self, later: _EventMark) -> float:
        return float(self._event.elapsed_time(later._event)) * _MILLI


class EventTimer:
    """Marks by timing events on the device's current stream, a few microseconds each.

    Args:
        device: A CUDA or XPU device.
    """

    sees_stalls, is_immediate = True, False

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._module = getattr(torch, device.type)
        self.mark()

    def mark(self) -> _EventMark:
        """A place in the queue behind everything queued so far."""
        event = self._module.Event(enable_timing=True)
        event.record(self._module.current_stream(self._device))
        return _EventMark(event)


def timer_for(device: torch.device, clock: Callable[[], float]) -> EventTimer | HostTimer:
    """Return the best timer for a device."""
    if device.type in _WITH_EVENTS:
        try:
            return EventTimer(device)
        except Exception as error:
            _logger.debug("no events on %s: %s", device, error)
    return HostTimer(clock, queued=device.type != "cpu")
