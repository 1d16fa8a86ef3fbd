"""The hardware of a run: which device, at which precision, against which peak."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import torch

from flopwatch.errors import FlopwatchError, MeasurementError, UnknownDeviceError
from flopwatch.hardware.benchmark import TORCH_DTYPES, measure_peak
from flopwatch.hardware.chips import Chip, Dtype, identify
from flopwatch.hardware.nvml.lookup import Address
from flopwatch.lightning.counting.precision import Precision
from flopwatch.run.records import Device

_GIVE_A_NUMBER = "pass a number as FlopWatch(peak_flops_per_second=...)"
_GIVE = f"{_GIVE_A_NUMBER}, or 'measured' for a short benchmark"
UsersPeak = float | Literal["measured"] | None
# Cloud TPU VMs name themselves by this variable; the number behind the dash counts cores or chips of the whole slice.
_TPU_VARIABLE = "TPU_ACCELERATOR_TYPE"
_TPU_GENERATIONS = {"v4": "tpu-v4", "v5litepod": "tpu-v5e", "v5p": "tpu-v5p", "v6e": "tpu-v6e", "tpu7x": "tpu-v7x"}


def device_of(trainer: Any, precision: Precision, peak: UsersPeak, chips: Sequence[Chip] = ()) -> Device:
    """The device that a Trainer trains on, with the user's peak, a measured one, or the datasheet's."""
    root = trainer.strategy.root_device
    device = describe_device(root, trainer.world_size, precision, chips)
    if peak is None:
        return device
    if peak != "measured":
        return replace(device, peak_flops_per_second=float(peak), peak_source="given by the user")
    if device.dtype not in TORCH_DTYPES:
        return replace(
            device,
            peak_flops_per_second=None,
            peak_source=f"a {device.dtype} peak cannot be measured; {_GIVE_A_NUMBER}",
        )
    try:
        measured = measure_peak(device.dtype, root)
    except MeasurementError as error:
        return replace(device, peak_flops_per_second=None, peak_source=f"{error}; {_GIVE_A_NUMBER}")
    return replace(device, peak_flops_per_second=measured.flops_per_second, peak_source=measured.source)


def describe_device(device: torch.device, count: int, precision: Precision, chips: Sequence[Chip] = ()) -> Device:
    """Identity of the run's device and its datasheet peak; what is not known says so in `peak_source`."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        uuid = getattr(properties, "uuid", None)
        base = Device(
            properties.name or str(getattr(properties, "gcnArchName", "unknown")),
            count,
            sm_count=int(properties.multi_processor_count),
            uuid=None if uuid is None else str(uuid),
        )
        return with_datasheet_peak(base, precision, chips)
    name = _name_of_other(device)
    if name is None:
        plain = "CPU" if device.type == "cpu" else device.type
        return Device(plain, count, precision.dtype, peak_source=f"a {plain} has no datasheet peak; {_GIVE}")
    return with_datasheet_peak(Device(name, count), precision, chips)


def _name_of_other(device: torch.device) -> str | None:
    """Return the name of a TPU or Gaudi, as its own software reports it."""
    if device.type == "xla":
        generation = os.environ.get(_TPU_VARIABLE, "").partition("-")[0]
        return _TPU_GENERATIONS.get(generation)
    if device.type == "hpu":
        ask = getattr(getattr(torch, "hpu", None), "get_device_name", None)
        return None if ask is None else str(ask())
    return None


def address_of(device: torch.device) -> Address | None:
    """How the NVIDIA driver's handle of the run's device is found; `None` for devices that are none of NVIDIA's."""
    if device.type != "cuda" or torch.version.hip:
        return None
    properties = torch.cuda.get_device_properties(device)
    uuid, index = getattr(properties, "uuid", None), device.index or 0
    return Address(
        name=properties.name,
        uuid=None if uuid is None else str(uuid),
        pci_bus_id=_pci_bus_id(properties),
        cuda_index=index,
    )


def _pci_bus_id(properties: Any) -> str | None:
    numbers = [getattr(properties, f"pci_{each}_id", None) for each in ("domain", "bus", "device")]
    if None in numbers:
        return None
    domain, bus, slot = (int(cast(int, each)) for each in numbers)
    return f"{domain:08X}:{bus:02X}:{slot:02X}.0"


def no_telemetry(device: torch.device) -> str | None:
    """Why nothing is read of an accelerator while it trains; `None` for NVIDIA's, and for a CPU."""
    if device.type == "cpu" or address_of(device) is not None:
        return None
    kind = "AMD GPUs" if device.type == "cuda" else f"a device of type {device.type}"
    return f"clocks, throttling and energy are read on NVIDIA GPUs only, not on {kind}"


def with_datasheet_peak(device: Device, precision: Precision, chips: Sequence[Chip] = ()) -> Device:
    """The same device with its datasheet peak at a precision, or with the reason why there is none."""
    dtype = precision.dtype
    try:
        if dtype is None:
            raise UnknownDeviceError(f"the run's precision is unknown{precision.note and ': '}{precision.note}")
        chip, slice_sms = identify(device.name, device.sm_count, chips)
        dtype = _possible(dtype, chip)
        peak = chip.peak_flops_per_second(dtype, slice_sms)
    except FlopwatchError as error:
        return replace(
            device,
            dtype=dtype,
            peak_flops_per_second=None,
            flops_per_clock=None,
            boost_clock_hz=None,
            peak_source=f"{error}; {_GIVE}",
        )
    return replace(
        device,
        dtype=dtype,
        peak_flops_per_second=peak,
        peak_source=f"datasheet: {chip.source}{_remarks(precision, chip, slice_sms)}",
        flops_per_clock=chip.flops_per_clock(dtype, device.sm_count),
        boost_clock_hz=chip.sheet_clock_hz(dtype),
    )


def _possible(dtype: Dtype, chip: Chip) -> Dtype:
    """TF32 on a chip that has none is plain FP32: torch's setting then does nothing."""
    return "fp32" if dtype == "tf32" and "tf32" not in chip.peaks and "fp32" in chip.peaks else dtype


def _remarks(precision: Precision, chip: Chip, slice_sms: int | None) -> str:
    remarks = [] if slice_sms is None else [f"{slice_sms} of {chip.sm_count} SMs"]
    if precision.note:
        remarks.append(precision.note)
    return "".join(f"; {each}" for each in remarks)
