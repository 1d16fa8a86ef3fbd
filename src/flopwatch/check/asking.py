"""Asks the NVIDIA driver on another thread, so that one that never answers holds up nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from flopwatch.errors import DriverError
from flopwatch.hardware.nvml import gauges
from flopwatch.hardware.nvml.driver import ask, driver_version
from flopwatch.hardware.nvml.inventory import sm_count
from flopwatch.hardware.nvml.lookup import Address, FoundGpu, find_gpu

LONGEST_SECONDS = 10.0
_T = TypeVar("_T")


@dataclass
class _Outcome(Generic[_T]):
    values: list[_T] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)


class Asked(Generic[_T]):
    """A question that is being answered on a thread of its own.

    Args:
        question: Asks.
    """

    def __init__(self, question: Callable[[], _T]) -> None:
        self._question, self._outcome = question, _Outcome[_T]()
        self._thread = threading.Thread(target=self._run, name="flopwatch-check", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome.values.append(self._question())
        except Exception as error:
            self._outcome.errors.append(error)

    def answer(self) -> _T:
        """Return the answer.

        Raises:
            DriverError: If there is none after ten seconds.
        """
        self._thread.join(LONGEST_SECONDS)
        if self._outcome.errors:
            raise self._outcome.errors[0]
        if not self._outcome.values:
            raise DriverError(f"expected an answer of the NVIDIA driver within {LONGEST_SECONDS:.0f} s, got none")
        return self._outcome.values[0]


@dataclass(frozen=True)
class DriverDevice:
    """A device as the driver describes it; what it does not tell is `None`."""

    gpu: FoundGpu
    name: str | None
    uuid: str | None
    sm_count: int | None
    driver: str | None
    max_sm_clock_hz: float | None
    power_limit_watts: float | None


def find(address: Address) -> DriverDevice:
    """Find a device and what the driver says of it.

    Args:
        address: As CUDA names it.

    Raises:
        DriverError: If the driver does not answer, or does not know it.
    """
    return Asked(lambda: _described(find_gpu(address))).answer()


def _described(gpu: FoundGpu) -> DriverDevice:
    name: Any = ask("nvmlDeviceGetName", gpu.handle).value
    uuid: Any = ask("nvmlDeviceGetUUID", gpu.handle).value
    return DriverDevice(
        gpu=gpu,
        name=name,
        uuid=uuid,
        sm_count=None if gpu.is_slice else sm_count(gpu.whole),
        driver=driver_version(),
        max_sm_clock_hz=gauges.max_sm_clock_hz(gpu.whole).value,
        power_limit_watts=gauges.power_limit_watts(gpu.whole).value,
    )
