"""The hardware of a run: which device, at which precision, against which peak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal, cast

import torch
from torch import nn

from flopwatch import nvml
from flopwatch.benchmark import TORCH_DTYPES, measure_peak
from flopwatch.chips import Dtype, find_chip
from flopwatch.errors import DriverError, FlopwatchError, UnknownDeviceError
from flopwatch.records import Device

_GIVE = "give FlopWatch(peak_flops_per_second=...) a number, or 'measured' for a short benchmark"
UsersPeak = float | Literal["measured"] | None
_MIXED: Mapping[str, Dtype] = MappingProxyType({"16-mixed": "fp16", "bf16-mixed": "bf16"})


def device_of(trainer: Any, module: nn.Module, peak: UsersPeak) -> Device:
    """The device that a Trainer trains on, with the user's peak, a measured one, or the datasheet's."""
    device = describe_device(trainer.strategy.root_device, trainer.world_size, dtype_of(trainer, module))
    if peak is None:
        return device
    if peak != "measured":
        return replace(device, peak_flops_per_second=float(peak), peak_source="given by the user")
    if device.dtype not in TORCH_DTYPES:
        return replace(
            device,
            peak_source=f"a {device.dtype} peak cannot be measured; give FlopWatch(peak_flops_per_second=...) a number",
        )
    measured = measure_peak(device.dtype, trainer.strategy.root_device)
    return replace(device, peak_flops_per_second=measured.flops_per_second, peak_source=measured.source)


def dtype_of(trainer: Any, module: nn.Module) -> Dtype | None:
    """The precision of the run's matrix multiplications, `None` where it is not known.

    The strategy's own mixed precision counts first (its compute dtype, not its reduce dtype), then the Trainer's mixed
    precision, then the dtype that the weights have.
    """
    mixed: Any = getattr(trainer.strategy, "mixed_precision", None)
    precision = str(getattr(trainer.precision_plugin, "precision", ""))
    if getattr(mixed, "param_dtype", None) is not None:
        return _dtype_name(mixed.param_dtype, trainer)
    if "TransformerEngine" in type(trainer.precision_plugin).__name__:
        return "fp8"
    if precision.endswith("-mixed"):
        return _MIXED.get(precision)
    if any(base.__name__ == "FSDPModule" for each in module.modules() for base in type(each).__mro__):
        return None
    weights = {each.dtype for each in module.parameters() if each.dim() >= 2}
    return _dtype_name(weights.pop(), trainer) if len(weights) == 1 else None


def _dtype_name(dtype: torch.dtype, trainer: Any) -> Dtype | None:
    names: dict[torch.dtype, Dtype] = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float64: "fp64"}
    if dtype != torch.float32:
        return names.get(dtype)
    return _float32_on_cuda() if trainer.strategy.root_device.type == "cuda" else "fp32"


def _float32_on_cuda() -> Dtype | None:
    try:
        return "fp32" if torch.get_float32_matmul_precision() == "highest" else "tf32"
    except RuntimeError:  # set by torch's newer attribute, which the older function then refuses to translate
        names: dict[str, Dtype] = {"ieee": "fp32", "tf32": "tf32"}
        return names.get(torch.backends.cuda.matmul.fp32_precision)


def describe_device(device: torch.device, count: int, dtype: Dtype | None) -> Device:
    """Identity of the run's device and its datasheet peak; what is not known says so in `peak_source`."""
    if device.type != "cuda":
        name = "CPU" if device.type == "cpu" else device.type
        return Device(name, count, dtype, peak_source=f"a {name} has no datasheet peak; {_GIVE}")
    properties = torch.cuda.get_device_properties(device)
    sm_count = int(properties.multi_processor_count)
    uuid = None if getattr(properties, "uuid", None) is None else str(properties.uuid)
    base = Device(properties.name, count, dtype, sm_count=sm_count, uuid=uuid, driver=_driver())
    return with_datasheet_peak(base)


def _driver() -> str | None:
    try:
        return nvml.driver_version()
    except DriverError:
        return None


def with_datasheet_peak(device: Device) -> Device:
    """The same device with its datasheet peak, or with the reason why there is none."""
    try:
        if device.dtype is None:
            raise UnknownDeviceError("the run's precision is not known")
        dtype = cast(Dtype, device.dtype)
        chip = find_chip(device.name)
        if chip.sm_count is not None and device.sm_count is not None and chip.sm_count != device.sm_count:
            raise UnknownDeviceError(
                f"{device.name} should have {chip.sm_count} SMs, this one has {device.sm_count}; it is a slice or"
                " another model"
            )
        peak = chip.peak_flops_per_second(dtype)
    except FlopwatchError as error:
        return replace(device, peak_source=f"{error}; {_GIVE}")
    return replace(
        device,
        peak_flops_per_second=peak,
        peak_source=f"datasheet: {chip.source}",
        flops_per_clock=chip.flops_per_clock(dtype, device.sm_count),
    )
