"""Matrix products of known FLOPs: their rate by two clocks, and against the datasheet's peak."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from flopwatch.check.asking import find
from flopwatch.check.machine import Machine
from flopwatch.check.results import CheckLine, between, compared, is_near, not_here
from flopwatch.errors import DriverError
from flopwatch.hardware.benchmark import TORCH_DTYPES
from flopwatch.hardware.nvml.lookup import Address
from flopwatch.lightning.timing.device_time import timer_for

_SIZES = {"cpu": 512, "cuda": 8192}
_SECONDS = {"cpu": 0.5, "cuda": 1.0}
_ROUND_SECONDS = 0.1  # long beside the launch of its first kernel
_TWO_CLOCKS = 0.02
_LEAST_OF_PEAK = 0.1  # a power cap can halve the clock twice, and more is a fault
PEAK, CLOCKS = "product and peak", "product, two clocks"


@dataclass(frozen=True)
class Load:
    """Products that a device has run.

    Attributes:
        flops: 2 n^3 for each.
        device_seconds: Time by the device's marks, as flopwatch times a run's windows.
        wall_seconds: Time by the system's clock.
    """

    flops: int
    device_seconds: float
    wall_seconds: float

    @property
    def flops_per_second(self) -> float:
        """The rate by the device's marks."""
        return self.flops / self.device_seconds


def multiply(machine: Machine, seconds: float, size: int | None = None) -> Load:
    """Run square products for some time.

    Args:
        machine: Where, and in which precision.
        seconds: For how long at least.
        size: Rows of a matrix; by default what keeps the device busy.
    """
    device, dtype = machine.device, TORCH_DTYPES[machine.described.dtype or "fp32"]
    rows = size or _SIZES[device.type]
    left, right = (torch.randn(rows, rows, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(left)
    in_a_round = _fit_into_a_round(left, right, out)
    timer: Any = timer_for(device, time.perf_counter)
    rounds, device_seconds, wall_seconds = 0, 0.0, 0.0
    while wall_seconds < seconds:
        began_wall, began = time.time(), timer.mark()
        _run(left, right, out, in_a_round)
        ended = timer.mark()
        wait_for(device)
        wall_seconds += time.time() - began_wall
        device_seconds += began.seconds_until(ended)
        rounds += 1
    return Load(rounds * in_a_round * 2 * rows**3, device_seconds, wall_seconds)


def wait_for(device: torch.device) -> None:
    """Wait until a device has done what was queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _run(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor, times: int) -> None:
    for _ in range(times):
        torch.mm(left, right, out=out)


def _fit_into_a_round(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> int:
    """How many products take a round; the first ones warm the device up."""
    _run(left, right, out, 2)
    wait_for(left.device)
    began = time.perf_counter()
    _run(left, right, out, 2)
    wait_for(left.device)
    return max(1, round(2 * _ROUND_SECONDS / (time.perf_counter() - began)))


def check_products(machine: Machine) -> Iterator[CheckLine]:
    """Run products; yield their rate against the peak, and by two clocks."""
    load = multiply(machine, _SECONDS[machine.device.type])
    most_clock_hz = None if machine.address is None else _most_clock_hz(machine.address)
    yield against_peak(machine, load, most_clock_hz)
    yield by_two_clocks(load)


def _most_clock_hz(address: Address) -> float | None:
    try:
        return find(address).max_sm_clock_hz
    except DriverError:
        return None


def against_peak(machine: Machine, load: Load, most_clock_hz: float | None = None) -> CheckLine:
    """A rate is at the peak or somewhat below; above it only where the device clocks higher than its datasheet says.

    Args:
        machine: What ran.
        load: What it ran.
        most_clock_hz: The highest SM clock that the driver allows, if it is known.
    """
    device = machine.described
    peak, sheet = device.peak_flops_per_second, device.boost_clock_hz
    if peak is None:
        return not_here(PEAK, f"no datasheet peak for {device.name}")
    share = load.flops_per_second / peak
    higher = max(most_clock_hz / sheet, 1.0) if most_clock_hz and sheet else 1.0
    words = f"{share:.1%} of the {device.dtype} peak"
    if share > 1:
        words += f"; the driver allows {higher:.3f} times the datasheet's clock"
    return between(
        PEAK,
        load.flops_per_second,
        least=_LEAST_OF_PEAK * peak,
        most=peak * higher,
        words=words,
        unit="FLOP/s",
    )


def by_two_clocks(load: Load) -> CheckLine:
    """The device's marks and the system's clock tell the same rate."""
    by_wall = load.flops / load.wall_seconds
    return compared(
        CLOCKS,
        is_near(load.flops_per_second, by_wall, _TWO_CLOCKS),
        expected=by_wall,
        found=load.flops_per_second,
        words=f"{abs(load.flops_per_second / by_wall - 1):.2%} from wall time",
        unit="FLOP/s",
    )
