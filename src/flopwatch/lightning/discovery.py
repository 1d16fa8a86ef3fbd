"""What a training script has without saying so: the model's config, the shape of a batch, the precision, the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from flopwatch import nvml
from flopwatch.architectures import architecture_of
from flopwatch.chips import Dtype, find_chip
from flopwatch.components import Architecture, Batch
from flopwatch.errors import ConfigError, DriverError, FlopwatchError, UnknownDeviceError
from flopwatch.records import Device

SHARDING_STRATEGIES = ("FSDPStrategy", "DeepSpeedStrategy")


@dataclass(frozen=True)
class FoundModel:
    """A config, where it was found, and the module that it describes."""

    architecture: Architecture
    where: str
    module: nn.Module


def find_model(module: nn.Module, config: object | None) -> FoundModel:
    """Find the model's config: the one passed in, `module.config`, `module.model.config`, any child's, `module.hparams`.

    Raises:
        ConfigError: If there is none, or the first one found cannot be counted.
    """
    if config is not None:
        return FoundModel(architecture_of(config), "the config argument", module)
    children = dict(module.named_children())
    owners = [("module", module), *((f"module.{name}", child) for name, child in children.items())]
    owners.sort(key=lambda owner: owner[0] not in ("module", "module.model"))
    for where, owner in owners:
        found = getattr(owner, "config", None)
        if _is_config(found):
            return FoundModel(architecture_of(found), f"{where}.config", owner)
    hparams = getattr(module, "hparams", None) or {}
    for where, found in (("module.hparams", hparams), ("module.hparams.config", _get(hparams, "config"))):
        if _is_config(found):
            return FoundModel(architecture_of(found), where, module)
    raise ConfigError(
        "no config with a 'model_type' on the module (looked at module.config, module.model.config, module.hparams);"
        " pass FlopWatch(config=...)"
    )


def _get(values: Any, name: str) -> Any:
    return values.get(name) if isinstance(values, Mapping) else getattr(values, name, None)


def _is_config(found: Any) -> bool:
    return found is not None and isinstance(_get(found, "model_type"), str)


def mismatch(found: FoundModel, module: nn.Module, strategy: str) -> tuple[bool, str]:
    """Whether the live module is what the config says, by its parameters.

    Returns:
        True and how it was checked, or False and why the count would be wrong.
    """
    trainable = {parameter.requires_grad for parameter in module.parameters()}
    if False in trainable:
        return False, "some parameters are frozen, so training does not cost 3 x forward; this is not counted yet"
    expected = found.architecture.parameters()
    if strategy in SHARDING_STRATEGIES:
        return True, f"formula from {found.where} only: {strategy} shards parameters, so they cannot be counted"
    own, all_of_module = (sum(parameter.numel() for parameter in each.parameters()) for each in (found.module, module))
    if own != expected:
        return False, (
            f"the {found.architecture.model_type} config from {found.where} describes {expected:,} parameters, the"
            f" module has {own:,}; pass the config of what is trained"
        )
    if all_of_module != own:
        return False, (
            f"the LightningModule has {all_of_module - own:,} parameters outside of the model that {found.where}"
            " describes, whose work would be left out"
        )
    return True, f"the config from {found.where} gives the live module's {own:,} parameters exactly"


def shape_of(batch: Any) -> tuple[Batch | None, bool]:
    """The shape of a batch of token ids, from shapes alone; no value is read.

    Returns:
        The shape, and whether it is sure that the model gets all of it: sure for a mapping with `input_ids` and for a
        pair of equal shapes (inputs, targets), unsure for a lone tensor, whose last token may only be a target.
    """
    if isinstance(batch, Mapping) or hasattr(batch, "input_ids"):
        tokens = _get(batch, "input_ids")
        return (_batch(tokens), True) if _is_tokens(tokens) else (None, False)
    if _is_tokens(batch):
        return _batch(batch), False
    if isinstance(batch, Sequence) and batch and _is_tokens(batch[0]):
        paired = len(batch) > 1 and _is_tokens(batch[1]) and batch[0].shape == batch[1].shape
        return _batch(batch[0]), paired
    return None, False


def _is_tokens(value: Any) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.dim() == 2
        and not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)
    )


def _batch(tokens: torch.Tensor) -> Batch | None:
    sequences, seq_len = tokens.shape
    return Batch(int(sequences), int(seq_len)) if sequences and seq_len else None


class InputProbe:
    """Sees what the model is really fed during the first training batch, then takes itself away.

    It hooks the token embedding. Compiled modules are not hooked inside, since that could make them compile again.

    Args:
        found: The model.
    """

    def __init__(self, found: FoundModel) -> None:
        self.seen: list[Batch] = []
        target = _probe_target(found)
        self._handle = None if target is None else target.register_forward_pre_hook(self._look, with_kwargs=True)
        self.active = target is not None

    def remove(self) -> None:
        """Take the hook away."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _look(self, module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        tokens = next((each for each in (*arguments, *named.values()) if _is_tokens(each)), None)
        shape = None if tokens is None else _batch(tokens)
        if shape is not None and torch.is_grad_enabled():
            self.seen.append(shape)


def _probe_target(found: FoundModel) -> nn.Module | None:
    modules = list(found.module.modules())
    if hasattr(found.module, "_orig_mod"):
        return found.module
    if any(hasattr(each, "_orig_mod") or getattr(each, "_compiled_call_impl", None) for each in modules):
        return None
    if getattr(found.module, "_compiler_ctx", None) is not None:
        return None
    embeddings = [each for each in modules if isinstance(each, nn.Embedding)]
    return max(embeddings, key=lambda each: each.num_embeddings, default=None)


def reconcile(counted: Batch | None, sure: bool, probe: InputProbe | None) -> tuple[int | None, str]:
    """Compare the batch's shape with what the model was fed.

    Returns:
        How many tokens each sequence of a batch is shorter when it reaches the model (0 or 1), or `None` where the two
        cannot be reconciled; and a sentence.
    """
    hint = "pass FlopWatch(batch_shape=...), a function from a batch to (sequences, tokens per sequence)"
    if counted is None:
        return None, f"no tensor of token ids was found in the batch; {hint}"
    seen = probe.seen if probe is not None and probe.active else []
    if not seen:
        if sure:
            return 0, "batch shapes are taken as they come from the data loader"
        return None, f"it could not be seen whether the model gets the whole batch; {hint}"
    if len(seen) == 1 and seen[0].sequences == counted.sequences and 0 <= counted.seq_len - seen[0].seq_len <= 1:
        return counted.seq_len - seen[0].seq_len, "the first batch reached the model with the counted shape"
    shapes = ", ".join(f"{each.sequences} x {each.seq_len}" for each in seen[:4])
    return None, (
        f"the batch holds {counted.sequences} x {counted.seq_len} tokens but the model was fed {shapes}; {hint}"
    )


def dtype_of(trainer: Any, module: nn.Module) -> Dtype | None:
    """The precision of the run's matrix multiplications, `None` where it is not known.

    The strategy's own mixed precision counts first (its compute dtype, not its reduce dtype), then the Trainer's mixed
    precision, then the dtype that the weights have.
    """
    mixed = getattr(trainer.strategy, "mixed_precision", None)
    precision = str(getattr(trainer.precision_plugin, "precision", ""))
    if getattr(mixed, "param_dtype", None) is not None:
        return _dtype_name(mixed.param_dtype, trainer)
    if "TransformerEngine" in type(trainer.precision_plugin).__name__:
        return "fp8"
    if precision.endswith("-mixed"):
        return {"16-mixed": "fp16", "bf16-mixed": "bf16"}.get(precision)  # type: ignore[return-value]
    if any(base.__name__ == "FSDPModule" for each in module.modules() for base in type(each).__mro__):
        return None
    weights = {each.dtype for each in module.parameters() if each.dim() >= 2}
    return _dtype_name(weights.pop(), trainer) if len(weights) == 1 else None


def _dtype_name(dtype: torch.dtype, trainer: Any) -> Dtype | None:
    names: dict[torch.dtype, Dtype] = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float64: "fp64"}
    if dtype != torch.float32:
        return names.get(dtype)
    on_cuda = trainer.strategy.root_device.type == "cuda"
    return "tf32" if on_cuda and torch.get_float32_matmul_precision() != "highest" else "fp32"


def describe_device(device: torch.device, count: int, dtype: Dtype | None) -> Device:
    """Identity of the run's device and its datasheet peak; what is not known says so in `peak_source`."""
    if device.type != "cuda":
        name = "CPU" if device.type == "cpu" else device.type
        return Device(name, count, dtype, peak_source=f"a {name} has no datasheet peak; give peak_flops_per_second")
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
            raise UnknownDeviceError("the run's precision is not known; give peak_flops_per_second")
        dtype: Dtype = device.dtype  # type: ignore[assignment]
        chip = find_chip(device.name)
        if chip.sm_count is not None and device.sm_count is not None and chip.sm_count != device.sm_count:
            raise UnknownDeviceError(
                f"{device.name} should have {chip.sm_count} SMs, this one has {device.sm_count}; it is a slice or another"
                " model; give peak_flops_per_second"
            )
        peak = chip.peak_flops_per_second(dtype)
    except FlopwatchError as error:
        return replace(device, peak_source=str(error))
    return replace(
        device,
        peak_flops_per_second=peak,
        peak_source=f"datasheet: {chip.source}",
        flops_per_clock=chip.flops_per_clock(dtype, device.sm_count),
    )
