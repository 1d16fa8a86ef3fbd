"""From a device as CUDA names it to the driver's handle: never by number where anything better is known."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flopwatch.errors import DriverError
from flopwatch.hardware.nvml.driver import ask, connect


@dataclass(frozen=True)
class Address:
    """What CUDA says of a device: enough to find it, however `CUDA_VISIBLE_DEVICES` orders and hides devices.

    Attributes:
        name: Its name.
        uuid: Its UUID, with or without the driver's "GPU-" or "MIG-".
        pci_bus_id: Like "00000000:1B:00.0".
        cuda_index: Its number among the devices that CUDA shows.
    """

    name: str
    uuid: str | None = None
    pci_bus_id: str | None = None
    cuda_index: int | None = None


@dataclass(frozen=True)
class FoundGpu:
    """Find the driver's handle for a device.

    `whole` is the GPU that a MIG slice is a part of, else the device itself: clocks and energy are those of the whole.
    `doubt` says what to check where the device was found by its number alone.
    """

    handle: Any
    whole: Any
    is_slice: bool
    doubt: str | None = None


def find_gpu(address: Address) -> FoundGpu:
    """Find a device by its UUID as a GPU's, then as a MIG slice's, then by its PCI bus id, then by its number.

    Raises:
        DriverError: If the driver does not answer, or the device cannot be told from its neighbours.
    """
    connect()
    uuid = (address.uuid or "").removeprefix("GPU-").removeprefix("MIG-")
    if uuid:
        for prefix in ("GPU-", "MIG-"):
            handle = ask("nvmlDeviceGetHandleByUUID", prefix + uuid).value
            if handle is not None:
                return _found(handle)
    if address.pci_bus_id is not None:
        handle = ask("nvmlDeviceGetHandleByPciBusId", address.pci_bus_id).value
        if handle is not None and not _is_partitioned(handle):
            return _found(handle)
    if uuid or address.pci_bus_id is not None or address.cuda_index is None:
        raise DriverError(
            f"the NVIDIA driver knows no GPU with UUID {address.uuid} (or PCI bus id {address.pci_bus_id})"
        )
    return _by_number(address, os.environ)


def _found(handle: Any, doubt: str | None = None) -> FoundGpu:
    whole = ask("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", handle).value if is_slice(handle) else handle
    if whole is None:
        raise DriverError("the NVIDIA driver does not say which GPU this MIG slice belongs to")
    return FoundGpu(handle, whole, whole is not handle, doubt)


def is_slice(handle: Any) -> bool:
    """Return whether a handle belongs to a MIG slice."""
    answer = ask("nvmlDeviceIsMigDeviceHandle", handle).value
    return bool(getattr(answer, "value", answer))


def _is_partitioned(handle: Any) -> bool:
    """Whether the GPU is split into MIG slices, so that its bus id does not say which one is meant."""
    modes = ask("nvmlDeviceGetMigMode", handle).value
    return bool(modes and modes[0])


def _by_number(address: Address, environment: Mapping[str, str]) -> FoundGpu:
    """For torch before 2.5, which gives neither UUID nor bus id: as CUDA reads its environment."""
    entry = visible_entry(address.cuda_index or 0, environment.get("CUDA_VISIBLE_DEVICES"))
    if entry is None:
        raise DriverError("CUDA_VISIBLE_DEVICES does not tell which GPU is in use")
    if not entry.isdecimal():
        return _found(_by_prefix(entry))
    handles = _all_handles()
    names = [None if each is None else ask("nvmlDeviceGetName", each).value for each in handles]
    in_pci_order = environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if int(entry) >= len(handles) or not (in_pci_order or len(set(names)) == 1):
        raise DriverError(
            f"device {entry} may be any of {', '.join(map(str, names))}; set CUDA_DEVICE_ORDER=PCI_BUS_ID, or use"
            " torch 2.5 or newer, which reports UUIDs"
        )
    if names[int(entry)] != address.name or _is_partitioned(handles[int(entry)]):
        raise DriverError(f"CUDA's {address.name} is not the driver's GPU {entry}, a {names[int(entry)]}")
    doubt = f"this version of torch reports no UUID: GPU {entry} was found by its number"
    if not in_pci_order and len(handles) > 1:
        doubt += ", but CUDA and the driver may number GPUs differently; set CUDA_DEVICE_ORDER=PCI_BUS_ID"
    return _found(handles[int(entry)], doubt)


def visible_entry(cuda_index: int, visible: str | None) -> str | None:
    """The entry of `CUDA_VISIBLE_DEVICES` that a CUDA device number means, `None` where it means none.

    CUDA ignores everything from the first entry on that it cannot read.
    """
    if visible is None:
        return str(cuda_index)
    entries: list[str] = []
    for entry in (each.strip() for each in visible.split(",")):
        if not (entry.isascii() and entry.isdecimal()) and not entry.startswith(("GPU-", "MIG-")):
            break
        entries.append(entry)
    return entries[cuda_index] if cuda_index < len(entries) else None


def _by_prefix(entry: str) -> Any:
    """The device whose UUID starts like this; CUDA takes abbreviations where they are unique."""
    exact = ask("nvmlDeviceGetHandleByUUID", entry).value
    if exact is not None:
        return exact
    handles = [each for each in _all_handles() if each is not None]
    near = [each for each in handles if str(ask("nvmlDeviceGetUUID", each).value).startswith(entry)]
    if len(near) != 1:
        raise DriverError(f"the NVIDIA driver knows {len(near)} GPUs whose UUID starts with {entry}")
    return near[0]


def _all_handles() -> list[Any]:
    """Return handles by the driver's number; `None` for an unavailable one, so that later ones keep their number."""
    count = ask("nvmlDeviceGetCount").value or 0
    return [ask("nvmlDeviceGetHandleByIndex", index).value for index in range(count)]
