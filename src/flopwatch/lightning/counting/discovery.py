"""What a training script has without saying so: the model's config, its head, and which of its parameters train."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from flopwatch.errors import ConfigError
from flopwatch.lightning.counting.shapes import get
from flopwatch.model.architecture import Architecture
from flopwatch.model.backward import Adapter, Checkpointing, Trainable
from flopwatch.model.components import Experts, Linear
from flopwatch.model.families import architecture_of

SHARDING_STRATEGIES = ("FSDPStrategy", "DeepSpeedStrategy")
_NUMBER = re.compile(r"\.\d+(?=\.\w+$)")
_INPUTS_HOOK = "make_inputs_require_grad"
_ADAPTER = re.compile(r"\.lora_([AB])\.[^.]+\.weight$")


@dataclass(frozen=True)
class FoundModel:
    """A config, where it was found, the module that it describes, and whether the user stated it."""

    architecture: Architecture
    where: str
    module: nn.Module
    stated: bool = False


def find_model(module: nn.Module, config: object | None) -> FoundModel:
    """Find the config: the one passed in, `module.config`, `module.model.config`, any child's, `module.hparams`.

    Raises:
        ConfigError: If there is none, or the first one found cannot be counted.
    """
    if config is not None:
        return FoundModel(architecture_of(config), "the config argument", module, stated=True)
    children = dict(module.named_children())
    owners = [("module", module), *((f"module.{name}", child) for name, child in children.items())]
    owners.sort(key=lambda owner: owner[0] not in ("module", "module.model"))
    for where, owner in owners:
        found = getattr(owner, "config", None)
        if _is_config(found):
            return FoundModel(architecture_of(_of_class(found, owner)), f"{where}.config", owner)
    hparams = getattr(module, "hparams", None) or {}
    for where, found in (("module.hparams", hparams), ("module.hparams.config", get(hparams, "config"))):
        if _is_config(found):
            return FoundModel(architecture_of(found), where, module)
    raise ConfigError(
        "found no config with a 'model_type' on the module (looked at module.config, module.model.config,"
        " module.hparams); if the model has one elsewhere, pass FlopWatch(config=...)"
    )


def _of_class(config: Any, owner: nn.Module) -> Any:
    """The config as it is used: a Hugging Face class says which head it has, whatever the config remembers."""
    plain = _plain_model(owner)
    if not hasattr(plain, "main_input_name") or not callable(getattr(config, "to_dict", None)):
        return config
    theirs = next((each for each in type(plain).__mro__ if each.__module__.startswith("transformers.")), type(plain))
    return {**config.to_dict(), "model_type": config.model_type, "architectures": [theirs.__name__]}


def _plain_model(module: nn.Module) -> nn.Module:
    """The Hugging Face model inside of what compiles it or adapts it (PEFT)."""
    module = getattr(module, "_orig_mod", module)
    inner = getattr(module, "get_base_model", None)
    return inner() if callable(inner) else module


def _is_config(found: Any) -> bool:
    return found is not None and isinstance(get(found, "model_type"), str)


def trainable_of(found: FoundModel) -> Trainable:
    """Return which parts of the architecture train, by the names of the live parameters.

    Raises:
        ConfigError: If something is frozen or adapted and the names are not those that the architecture has.
    """
    named = dict(_named_parameters(found.module))
    adapters = _adapters(named, _adapted_parameters(found.module))
    own = {name: each for name, each in named.items() if not _ADAPTER.search(name)}
    if not adapters and all(each.requires_grad for each in own.values()):
        return Trainable()
    unknown = [name for name in _weight_names(found.architecture) if name not in own]
    if unknown:
        raise ConfigError(
            f"some parameters are frozen, but the module has no {unknown[0]}, so the model parts they belong to are"
            " unknown"
        )
    known = _all_names(found.architecture)
    parts = {name: name if name in known else _NUMBER.sub("", name) for name in own}
    told = {id(each) for name, each in own.items() if parts[name] in known}
    strange = next((name for name, each in own.items() if not each.requires_grad and id(each) not in told), None)
    if strange is not None:
        raise ConfigError(f"{strange} is frozen, but the part of the model it belongs to is unknown")
    train = {parts[name] for name, each in own.items() if each.requires_grad}
    return Trainable(frozenset(parts.values()) - train, adapters, _inputs_that_require_grad(found))


def _named_parameters(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Under their plain names, adapters under PEFT's; tied ones under each of their names."""
    parameters = module.named_parameters(remove_duplicate=False)
    return [(_plain(name) if not _ADAPTER.search(name) else _outer(name), each) for name, each in parameters]


def _outer(name: str) -> str:
    """A name without the levels that PEFT and torch.compile put around the whole model."""
    return name.replace("_orig_mod.", "").removeprefix("base_model.model.")


def _plain(name: str) -> str:
    """A name without the levels that PEFT and torch.compile add."""
    return re.sub(r"\.base_layer(?=\.|$)", "", _outer(name))


def _adapted_parameters(module: nn.Module) -> dict[str, Any]:
    """PEFT's modules, by their names, that add an adapter to a parameter itself."""
    named = module.named_modules(remove_duplicate=False)
    return {_outer(name): each for name, each in named if type(each).__name__ == "ParamWrapper"}


def _adapters(named: Mapping[str, nn.Parameter], wrappers: Mapping[str, Any]) -> dict[str, Adapter]:
    """LoRA's narrow layers by the path of the part that they adapt."""
    adapters: dict[str, Adapter] = {}
    for name, down in named.items():
        match = _ADAPTER.search(name)
        if match is None or match.group(1) != "A":
            continue
        up = named.get(name.replace(".lora_A.", ".lora_B."))
        if up is None or up.requires_grad != down.requires_grad:
            raise ConfigError(f"the adapter {name} has no second half that trains like the first")
        around = name[: match.start()]
        path, wrapper = _plain(around), wrappers.get(around)
        adapter = Adapter(int(down.shape[0]), down.requires_grad, into_weight=wrapper is not None)
        if wrapper is not None:
            path = f"{path}.{wrapper.parameter_name}".removesuffix(".weight")
            # Where PEFT keeps the factors of several experts apart, PyTorch multiplies them once more to check itself.
            adapter = replace(
                adapter, reference=1 + (wrapper.num_experts > 1 and hasattr(wrapper, "get_delta_factors"))
            )
        if path in adapters:
            raise ConfigError(f"{path} has several adapters")
        adapters[path] = adapter
    return adapters


def _weight_names(architecture: Architecture) -> list[str]:
    return [
        path if leaf.bare else f"{path}.weight"
        for path, leaf in architecture.named_leaves()
        if isinstance(leaf, (Linear, Experts)) and not (isinstance(leaf, Linear) and leaf.tied)
    ]


def _all_names(architecture: Architecture) -> frozenset[str]:
    names = set()
    for path, leaf in architecture.named_leaves():
        names |= {path, f"{path}_bias"} if leaf.bare else {f"{path}.weight", f"{path}.bias"}
    return frozenset(names)


def _inputs_that_require_grad(found: FoundModel) -> frozenset[str]:
    """The parts on which Hugging Face's or PEFT's `enable_input_require_grads` is on."""
    hooked = tuple(
        f"{_plain(name)}."
        for name, each in found.module.named_modules(remove_duplicate=False)
        if any(getattr(hook, "__name__", "").startswith(_INPUTS_HOOK) for hook in each._forward_hooks.values())
    )
    return frozenset(path for path, _ in found.architecture.named_leaves() if f"{path}.".startswith(hooked))


def adapter_parameters(found: FoundModel) -> int:
    """Return the parameters of adapters next to the model's own layers."""
    return sum(each.numel() for name, each in _named_parameters(found.module) if _ADAPTER.search(name))


def is_sharded(module: nn.Module, strategy: str) -> bool:
    """Whether parameters are split over devices, so that they can be neither counted nor copied."""
    if strategy in SHARDING_STRATEGIES:
        return True
    return any(type(each).__name__ == "DTensor" or hasattr(each, "device_mesh") for each in module.parameters())


def matches(found: FoundModel, module: nn.Module, strategy: str) -> tuple[bool, str]:
    """Whether the live module is what the config says, by its parameters.

    Returns:
        True and how it was checked, or False and why the count would be wrong.
    """
    if has_head(found) is False:
        return False, f"the {type(found.module).__name__} has no head, but the config's count includes one"
    expected = found.architecture.parameters()
    if is_sharded(module, strategy):
        return True, f"formula from {found.where} only: {strategy} shards parameters, so they cannot be counted"
    own, all_of_module = (sum(each.numel() for each in part.parameters()) for part in (found.module, module))
    added = adapter_parameters(found)
    if own - added != expected:
        return False, (
            f"the {found.architecture.model_type} config from {found.where} describes {expected:,} parameters, but"
            f" the module has {own - added:,}; pass the config of the model that is trained"
        )
    if all_of_module != own:
        return False, (
            f"the LightningModule has {all_of_module - own:,} parameters outside the model that {found.where}"
            " describes, and their work would not count"
        )
    beside = f" beside {added:,} of adapters" if added else ""
    return True, f"the config from {found.where} matches the module's {expected:,} parameters exactly{beside}"


def has_head(found: FoundModel) -> bool | None:
    """Whether the live module computes the head that is counted; `None` where only its output can tell.

    With a tied head a model with and one without it have the same parameters.
    """
    heads = [leaf for leaf, _, _ in found.architecture.leaves() if isinstance(leaf, Linear) and leaf.role == "head"]
    tied = [head for head in heads if head.tied]
    if not tied or found.stated:
        return True
    module = _plain_model(found.module)
    output_embeddings = getattr(module, "get_output_embeddings", None)
    if callable(output_embeddings):
        return output_embeddings() is not None
    embeddings = {id(each.weight) for each in module.modules() if isinstance(each, nn.Embedding)}
    linears = (each for each in module.modules() if isinstance(each, nn.Linear))
    return True if any(id(each.weight) in embeddings for each in linears) else None


def checkpointing_of(module: nn.Module) -> Checkpointing | None:
    """How the model's layers are checkpointed, as far as it shows; `None` where something else is checkpointed.

    Hugging Face's models keep a flag and PyTorch's function on their layers, FSDP wraps the layers.
    """
    kinds: set[Checkpointing] = set()
    for each in module.modules():
        if type(each).__name__ == "CheckpointWrapper":
            kinds.add("non-reentrant")
        if getattr(each, "gradient_checkpointing", False) is True:
            function = getattr(each, "_gradient_checkpointing_func", None)
            reentrant = getattr(function, "keywords", {}).get("use_reentrant")
            if reentrant is not None:
                kinds.add("reentrant" if reentrant else "non-reentrant")
    if len(kinds) > 1:
        return None
    return kinds.pop() if kinds else "none"
