"""What a training script has without saying so: the model's config and the shape of its batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from flopwatch.architectures import architecture_of
from flopwatch.components import Architecture, Batch
from flopwatch.errors import ConfigError

SHARDING_STRATEGIES = ("FSDPStrategy", "DeepSpeedStrategy")


@dataclass(frozen=True)
class FoundModel:
    """A config, where it was found, and the module that it describes."""

    architecture: Architecture
    where: str
    module: nn.Module


def find_model(module: nn.Module, config: object | None) -> FoundModel:
    """Find the config: the one passed in, `module.config`, `module.model.config`, any child's, `module.hparams`.

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


def _batch(tokens: torch.Tensor) -> Batch:
    sequences, seq_len = tokens.shape
    return Batch(int(sequences), int(seq_len))


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
        if tokens is not None and torch.is_grad_enabled():
            self.seen.append(_batch(tokens))


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
