"""What the NVIDIA driver says, through one query function for every call. The only user of `pynvml`."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flopwatch.errors import DriverError

_logger = logging.getLogger("flopwatch")
_T = TypeVar("_T")
_initialized_in: int | None = None


@dataclass(frozen=True)
class Gpu:
    """A GPU as the driver describes it; what it does not tell is `None`."""

    index: int
    name: str
    uuid: str
    driver: str | None
    pci_bus_id: str | None
    sm_clock_hz: float | None
    max_sm_clock_hz: float | None
    power_watts: float | None
    power_limit_watts: float | None
    temperature_celsius: int | None
    memory_bytes: int | None


def _binding() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pynvml
    except ImportError:
        raise DriverError("the NVML binding is missing; install it with `pip install nvidia-ml-py`") from None
    if not hasattr(pynvml, "NVMLError") or not hasattr(pynvml, "nvmlDeviceGetHandleByUUID"):
        raise DriverError(
            "the module `pynvml` is not NVIDIA's binding; run `pip uninstall pynvml` and `pip install nvidia-ml-py`"
        )
    return pynvml


def connect() -> Any:
    """The binding with NVML initialised in this process (again after a fork).

    Raises:
        DriverError: If there is no binding, no driver, or it does not answer.
    """
    global _initialized_in
    pynvml = _binding()
    if _initialized_in != os.getpid():
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise DriverError(f"the NVIDIA driver did not answer: {error}") from None
        _initialized_in = os.getpid()
    return pynvml


def query(function: Callable[..., _T], *arguments: Any) -> _T | None:
    """Ask the driver; `None` for whatever this driver, device or user may not read.

    Raises:
        DriverError: If the driver or the GPU is gone, so that asking on makes no sense.
    """
    global _initialized_in
    pynvml = _binding()
    fatal = (
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_GPU_IS_LOST,
        pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
    )
    try:
        return function(*arguments)
    except pynvml.NVMLError as error:
        if error.value in fatal:
            _initialized_in = None
            raise DriverError(f"the NVIDIA driver stopped answering: {error}") from None
        return None


def handle_by_uuid(uuid: str) -> Any:
    """The driver's handle of the GPU with this UUID, with or without its `GPU-` prefix.

    Raises:
        DriverError: If the driver does not answer or does not know the UUID.
    """
    pynvml = connect()
    full = uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"
    handle = query(pynvml.nvmlDeviceGetHandleByUUID, full)
    if handle is None:
        raise DriverError(f"the NVIDIA driver knows no GPU with UUID {full}")
    return handle


def sm_clock_hz(handle: Any) -> float | None:
    """Current SM clock; `None` where it cannot be read, or reads zero as an idle GPU's can."""
    pynvml = connect()
    megahertz = query(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM)
    return megahertz * 1e6 if megahertz else None


def driver_version() -> str | None:
    """The driver's version."""
    return query(connect().nvmlSystemGetDriverVersion)


def list_gpus() -> list[Gpu]:
    """Every GPU that the driver shows.

    Raises:
        DriverError: If there is no binding or no driver.
    """
    pynvml = connect()
    count = query(pynvml.nvmlDeviceGetCount) or 0
    handles = (query(pynvml.nvmlDeviceGetHandleByIndex, index) for index in range(count))
    return [_describe(pynvml, index, handle) for index, handle in enumerate(handles) if handle is not None]


def _describe(pynvml: Any, index: int, handle: Any) -> Gpu:
    max_clock = query(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_SM)
    power = query(pynvml.nvmlDeviceGetPowerUsage, handle)
    limit = query(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)
    memory = query(pynvml.nvmlDeviceGetMemoryInfo, handle)
    pci = query(pynvml.nvmlDeviceGetPciInfo, handle)
    return Gpu(
        index=index,
        name=query(pynvml.nvmlDeviceGetName, handle) or "unknown",
        uuid=query(pynvml.nvmlDeviceGetUUID, handle) or "unknown",
        driver=driver_version(),
        pci_bus_id=None if pci is None else str(pci.busId),
        sm_clock_hz=sm_clock_hz(handle),
        max_sm_clock_hz=max_clock * 1e6 if max_clock else None,
        power_watts=None if power is None else power / 1e3,
        power_limit_watts=None if limit is None else limit / 1e3,
        temperature_celsius=query(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        memory_bytes=None if memory is None else int(memory.total),
    )
