"""The precision of a run's matrix multiplications, which decides against which peak it is held."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from flopwatch.hardware.chips import Dtype

_MIXED: Mapping[str, Dtype] = MappingProxyType({"16-mixed": "fp16", "bf16-mixed": "bf16"})
_NAMES: Mapping[torch.dtype, Dtype] = MappingProxyType(
    {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float64: "fp64", torch.float32: "fp32"}
)
# Weights may be stored in these; that they are multiplied in them only a product shows.
_FACTORS: Mapping[torch.dtype, Dtype] = MappingProxyType(
    {torch.complex64: "fp32", torch.complex128: "fp64", torch.float8_e4m3fn: "fp8", torch.float8_e5m2: "fp8"}
)
_EVER_FASTER = (("fp64",), ("fp32",), ("tf32",), ("bf16", "fp16"), ("int8", "fp8"), ("fp4",))
_MOST_OF_THE_WEIGHTS, _FEW = 0.5, 0.05
_NEARLY_ALL_WEIGHTS = 0.95
_SAY = "pass FlopWatch(dtype=...)"


@dataclass(frozen=True)
class Precision:
    """A precision, or `None` with the reason; `note` says where it is from or what to mind.

    `by_layers` says that the layers themselves decide, whatever dtype the factors are handed to them in.
    """

    dtype: Dtype | None
    note: str = ""
    by_layers: bool = False


def precision_of(trainer: Any, module: nn.Module) -> Precision:
    """The precision in which a run multiplies matrices.

    Layers that bring their own (FP8, quantized ones) count first, then the strategy's mixed precision (its compute
    dtype, not its reduce dtype), then the Trainer's, then the dtype that the weights have.
    """
    plugin, strategy = trainer.precision_plugin, trainer.strategy
    on_cuda = strategy.root_device.type == "cuda"
    for found in (_of_layers(plugin, module), _of_plugin(plugin)):
        if found is not None:
            return replace(found, by_layers=True)
    compute = _of_strategy(strategy) or _of_fully_shard(module)
    # Before 2.6 Lightning's FSDP kept weights in FP32 under "bf16-mixed" and multiplied them under an autocast.
    mixed = str(getattr(plugin, "precision", ""))
    if mixed.endswith("-mixed") and compute in (None, torch.float32):
        return Precision(_MIXED.get(mixed))
    if compute is not None:
        return _of_dtype(compute, on_cuda, module)
    return _of_weights(module, on_cuda)


def _of_layers(plugin: Any, module: nn.Module) -> Precision | None:
    """Return the precision of FP8 and quantized layers, by their class names."""
    layers = [each for each in module.modules() if type(each).__module__.startswith(("torchao", "transformer_engine"))]
    names = {type(each).__name__ for each in layers}
    by_engine = any(type(each).__module__.startswith("transformer_engine") for each in layers)
    if "TransformerEngine" in type(plugin).__name__:
        return _of_recipe(getattr(plugin, "recipe", None))
    if "Float8Linear" in names:
        return Precision("fp8", "its linear layers are torchao's Float8Linear; other layers run in a higher precision")
    if layers and by_engine:
        return Precision(None, f"TransformerEngine decides at run time whether its layers run in FP8; {_SAY}")
    if any("Linear" in name for name in names):
        return Precision(None, f"the precision of torchao's {', '.join(sorted(names))} is unknown; {_SAY}")
    if any(type(each.data).__module__.startswith("torchao") for each in module.parameters()):
        return Precision(None, f"the precision of torchao's quantized weights is unknown; {_SAY}")
    return _of_bitsandbytes(module)


def _of_recipe(recipe: Any) -> Precision:
    name = type(recipe).__name__
    dtype: Dtype = "fp4" if "FP4" in name.upper() else "fp8"
    return Precision(dtype, "its linear layers are TransformerEngine's; other layers run in a higher precision")


def _of_bitsandbytes(module: nn.Module) -> Precision | None:
    """4-bit weights are unpacked and multiplied in the compute dtype; 8-bit ones are multiplied partly as integers."""
    layers = [each for each in module.modules() if type(each).__module__.startswith("bitsandbytes")]
    dtypes = {each.compute_dtype for each in layers if hasattr(each, "compute_dtype")}
    if any("8bit" in type(each).__name__ for each in layers):
        return Precision(None, f"8-bit layers of bitsandbytes multiply in more than one precision; {_SAY}")
    if not dtypes:
        return None
    dtype = dtypes.pop() if len(dtypes) == 1 else None
    if not isinstance(dtype, torch.dtype):
        return Precision(None, f"the compute dtype of bitsandbytes' layers is unknown; {_SAY}")
    return Precision(_NAMES.get(dtype), "4-bit weights are multiplied in their compute dtype")


def _of_plugin(plugin: Any) -> Precision | None:
    if "Bitsandbytes" not in type(plugin).__name__:
        return None
    mode = str(getattr(plugin, "mode", ""))
    if "int8" in mode or not isinstance(getattr(plugin, "dtype", None), torch.dtype):
        return Precision(None, f"bitsandbytes' {mode} names no single precision; {_SAY}")
    return Precision(_NAMES.get(plugin.dtype), "4-bit weights are multiplied in their compute dtype")


def _of_strategy(strategy: Any) -> torch.dtype | None:
    """The compute dtype that FSDP or DeepSpeed were given, by the strategy or by its precision plugin."""
    mixed = getattr(strategy, "mixed_precision_config", None) or getattr(strategy, "mixed_precision", None)
    dtype = getattr(mixed, "param_dtype", None)
    if isinstance(dtype, torch.dtype):
        return dtype
    config = getattr(strategy, "config", None)
    if isinstance(config, Mapping):
        for key, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
            if isinstance(config.get(key), Mapping) and config[key].get("enabled") is True:
                return dtype
    return None


def _of_fully_shard(module: nn.Module) -> torch.dtype | None:
    """The compute dtype of `fully_shard(mp_policy=...)`; `None` where the weights keep their own."""
    dtypes = {_policy_dtype(each) for each in module.modules() if hasattr(each, "_get_fsdp_state")}
    return dtypes.pop() if len(dtypes) == 1 else None


def _policy_dtype(module: Any) -> torch.dtype | None:
    policy = getattr(module._get_fsdp_state(), "_mp_policy", None)
    dtype = getattr(policy, "param_dtype", None)
    return dtype if isinstance(dtype, torch.dtype) else None


def _of_weights(module: nn.Module, on_cuda: bool) -> Precision:
    """The dtype of nearly all weights: routers or LoRA adapters in FP32 do not change what most of the work runs in."""
    sizes: Counter[torch.dtype] = Counter()
    for each in module.parameters():
        if each.dim() >= 2:
            sizes[each.dtype] += each.numel()
    dtype, size = next(iter(sizes.most_common(1)), (torch.float32, 0))
    if size < _NEARLY_ALL_WEIGHTS * sizes.total() or not size:
        found = ", ".join(map(_short, sizes)) or "no matrices"
        return Precision(None, f"the weights have more than one dtype ({found}); {_SAY}")
    return _of_dtype(dtype, on_cuda, module)


def _of_dtype(dtype: torch.dtype, on_cuda: bool, module: nn.Module) -> Precision:
    name = _NAMES.get(dtype)
    if name is None:
        return Precision(None, f"no matrix multiplication here runs in {dtype}; {_SAY}")
    return _of_float32(module) if name == "fp32" and on_cuda else Precision(name)


def _of_float32(module: nn.Module) -> Precision:
    """32-bit weights on CUDA: torch has one switch for matrix multiplications and another for convolutions."""
    if torch.version.hip and os.environ.get("HIPBLASLT_ALLOW_TF32") != "1":
        return Precision("fp32")
    matmul = _float32_matmul()
    convolution = _float32_convolution()
    share = _share_of_convolutions(module)
    if matmul == convolution or share <= _FEW:
        return Precision(matmul)
    if share >= _MOST_OF_THE_WEIGHTS:
        return Precision(convolution, "convolutions follow torch.backends.cudnn.allow_tf32")
    return Precision(None, f"convolutions run in {convolution}, matrix multiplications in {matmul}; {_SAY}")


def _share_of_convolutions(module: nn.Module) -> float:
    convolutions = sum(
        each.weight.numel() for each in module.modules() if isinstance(each, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    )
    everything = sum(each.numel() for each in module.parameters() if each.dim() >= 2)
    return convolutions / everything if everything else 0.0


def _float32_matmul() -> Dtype | None:
    try:
        return "fp32" if torch.get_float32_matmul_precision() == "highest" else "tf32"
    except RuntimeError:  # set by torch's newer attribute, which the older function then refuses to translate
        names: dict[str, Dtype] = {"ieee": "fp32", "tf32": "tf32"}
        return names.get(torch.backends.cuda.matmul.fp32_precision)


def _float32_convolution() -> Dtype | None:
    """Torch's newer attribute first: after it was set, reading the older one is an error."""
    names: dict[str, Dtype] = {"ieee": "fp32", "tf32": "tf32"}
    newer = getattr(getattr(torch.backends.cudnn, "conv", None), "fp32_precision", None)
    if newer in names:
        return names[newer]
    try:
        return "tf32" if torch.backends.cudnn.allow_tf32 else "fp32"
    except RuntimeError:
        return None


def precision_seen(
    assumed: Precision, flops: Mapping[torch.dtype, int], module: nn.Module, *, on_cuda: bool
) -> Precision:
    """The precision that was assumed, or the one in which a watched batch multiplied matrices.

    An autocast in `training_step` shows there, and a cast of a weight. A small part in another precision changes
    nothing, nor does a part in a slower one: the peak stays that of what most of the work was to run in.

    Args:
        assumed: What Trainer and weights say.
        flops: Of a batch, by the dtype of the factors.
        module: The LightningModule.
        on_cuda: Whether it trains on CUDA.
    """
    seen = {dtype: count for dtype, count in flops.items() if count >= _FEW * sum(flops.values())}
    if assumed.by_layers or not seen:
        return assumed
    found = [Precision(_FACTORS[dtype]) if dtype in _FACTORS else _of_dtype(dtype, on_cuda, module) for dtype in seen]
    names = {each.dtype for each in found}
    if assumed.dtype in names and max(map(_speed, names)) == _speed(assumed.dtype):
        return assumed
    if len(names) == 1:
        return replace(found[0], note=found[0].note or "as a watched batch multiplied matrices")
    shares = ", ".join(f"{seen[each] / sum(seen.values()):.0%} {_short(each)}" for each in sorted(seen, key=str))
    return Precision(None, f"a watched batch multiplied matrices in more than one precision ({shares}); {_SAY}")


def _speed(dtype: Dtype | None) -> int:
    """Return the rank of a precision among those that chips get ever faster in."""
    return next((rank for rank, names in enumerate(_EVER_FASTER) if dtype in names), len(_EVER_FASTER))


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
