"""A measured peak for devices that have no datasheet row: the best matrix multiplication that a short benchmark saw."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from flopwatch.errors import MeasurementError
from flopwatch.units import format_si

_SIZES = (512, 1024, 2048)
_SECONDS_PER_SIZE = 0.4
_FEWEST_RUNS = 3
_SLOW_SECONDS = 0.5
_DTYPES = {"fp64": torch.float64, "fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16}
TORCH_DTYPES = {**_DTYPES, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class MeasuredPeak:
    """The fastest square matrix multiplication seen, and how it was measured."""

    flops_per_second: float
    source: str


def measure_peak(dtype: str, device: torch.device) -> MeasuredPeak:
    """Run square matrix multiplications for about a second and keep the fastest.

    It is a floor of what the device can do, not a datasheet value: an MFU against it can pass 1.

    Args:
        dtype: fp64, fp32, tf32, fp16 or bf16.
        device: Where to run; it is synchronised, so call this before training.

    Raises:
        KeyError: For a precision that a plain matrix multiplication cannot have.
    """
    torch_dtype = TORCH_DTYPES[dtype]
    rates: dict[int, float] = {}
    for size in _SIZES:
        seconds = _best_seconds(size, torch_dtype, device)
        rates[size] = 2 * size**3 / seconds
        if seconds > _SLOW_SECONDS:
            break
    best = max(rates, key=lambda size: rates[size])
    where = f"{torch.get_num_threads()} CPU threads" if device.type == "cpu" else str(device)
    source = f"measured: {best} x {best} {dtype} matmul at {format_si(rates[best], 'FLOP/s')} on {where}"
    return MeasuredPeak(rates[best], source)


def _best_seconds(size: int, dtype: torch.dtype, device: torch.device) -> float:
    generator = torch.Generator("cpu").manual_seed(0)
    left, right = (torch.randn(size, size, generator=generator, device="cpu").to(device, dtype) for _ in range(2))
    out = torch.empty(size, size, dtype=dtype, device=device)
    best, runs, started = float("inf"), 0, time.perf_counter()
    while True:
        best = min(best, _seconds_of_one(left, right, out))
        runs += 1
        spent = time.perf_counter() - started
        if spent > _SLOW_SECONDS or (runs >= _FEWEST_RUNS and spent > _SECONDS_PER_SIZE):
            return best


def _seconds_of_one(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> float:
    _wait_for(out.device)
    started = time.perf_counter()
    with torch.no_grad():
        torch.mm(left, right, out=out)
    _wait_for(out.device)
    return time.perf_counter() - started


def _wait_for(device: torch.device) -> None:
    """Wait until a device has finished its queued work.

    Raises:
        MeasurementError: If torch has no way to wait for it, so that a time would be that of the launch alone.
    """
    if device.type == "cpu":
        return
    synchronize = getattr(getattr(torch, device.type, None), "synchronize", None)
    if synchronize is None:
        raise MeasurementError(
            f"cannot measure a peak on a device of type {device.type}: flopwatch cannot wait for its work to finish"
        )
    synchronize()
