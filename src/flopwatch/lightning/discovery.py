"""What a training script has without saying so: the model's config and the shape of its batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from flopwatch.architectures import architecture_of
from flopwatch.components import Architecture, Batch, Embedding, Linear
from flopwatch.errors import ConfigError

SHARDING_STRATEGIES = ("FSDPStrategy", "DeepSpeedStrategy")


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


def all_trainable(module: nn.Module) -> bool:
    """Whether no parameter is frozen."""
    return all(parameter.requires_grad for parameter in module.parameters())


def matches(found: FoundModel, module: nn.Module, strategy: str) -> tuple[bool, str]:
    """Whether the live module is what the config says, by its parameters.

    Returns:
        True and how it was checked, or False and why the count would be wrong.
    """
    if not all_trainable(module):
        return False, "some parameters are frozen, so training does not cost 3 x forward; this is not counted yet"
    if has_head(found) is False:
        return False, f"the {type(found.module).__name__} has no LM head, which the config's count includes"
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


def shape_of(batch: Any) -> Batch | None:
    """The shape of a batch of token ids, from shapes alone; no value is read, and what is no such batch is `None`."""
    if isinstance(batch, Mapping) or hasattr(batch, "input_ids"):
        batch = _get(batch, "input_ids")
    elif isinstance(batch, Sequence) and batch:
        batch = batch[0]
    return _batch(batch) if _is_tokens(batch) else None


def is_plain(batch: Any) -> bool:
    """Whether a batch's shape is sure to be the model's without looking: `input_ids`, or inputs and targets alike.

    A lone tensor is not: its last token may only be a target.
    """
    if isinstance(batch, Mapping) or hasattr(batch, "input_ids"):
        return _is_tokens(_get(batch, "input_ids"))
    pair = batch[:2] if isinstance(batch, (list, tuple)) else ()
    return len(pair) == 2 and all(_is_tokens(each) for each in pair) and pair[0].shape == pair[1].shape


def _is_tokens(value: Any) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.dim() == 2
        and not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)
    )


def _batch(tokens: torch.Tensor) -> Batch:
    sequences, seq_len = tokens.shape
    return Batch(int(sequences), int(seq_len))


def has_head(found: FoundModel) -> bool | None:
    """Whether the live module computes the LM head that is counted; `None` where only its output can tell.

    With a tied head a model with and one without it have the same parameters.
    """
    head = next(each for each in found.architecture.components if isinstance(each, Linear) and each.name == "lm_head")
    if not head.tied or found.stated:
        return True
    module = getattr(found.module, "_orig_mod", found.module)
    output_embeddings = getattr(module, "get_output_embeddings", None)
    if callable(output_embeddings):
        return output_embeddings() is not None
    embeddings = {id(each.weight) for each in module.modules() if isinstance(each, nn.Embedding)}
    linears = (each for each in module.modules() if isinstance(each, nn.Linear))
    return True if any(id(each.weight) in embeddings for each in linears) else None


class Probe:
    """Sees what the model is fed and returns during one training batch; in between it leaves no trace on the module.

    It hooks the token embedding and the model's output. Compiled modules are not hooked inside, since that could make
    them compile again.

    Args:
        found: The model.
    """

    def __init__(self, found: FoundModel) -> None:
        self.seen: list[Batch] = []
        self.saw_logits = False
        embedding = next(each for each in found.architecture.components if isinstance(each, Embedding))
        # Hidden states as wide as the vocabulary look like logits, so then no output proves a head.
        self._logit_size = embedding.rows if embedding.rows != embedding.features else None
        self._target = _probe_target(found)
        self._output_of = found.module
        self._handles: list[RemovableHandle] = []

    def attach(self) -> None:
        """Start looking."""
        self.detach()
        self.seen = []
        if self._target is not None:
            self._handles = [
                self._target.register_forward_pre_hook(self._look_at_input, with_kwargs=True),
                self._output_of.register_forward_hook(self._look_at_output),
            ]

    def detach(self) -> None:
        """Stop looking."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _look_at_input(self, module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        tokens = next((each for each in (*arguments, *named.values()) if _is_tokens(each)), None)
        if tokens is not None and torch.is_grad_enabled():
            self.seen.append(_batch(tokens))

    def _look_at_output(self, module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        values = output.values() if isinstance(output, Mapping) else output
        values = values if isinstance(values, Iterable) and not isinstance(values, torch.Tensor) else (values,)
        tensors = (each for each in values if isinstance(each, torch.Tensor))
        self.saw_logits |= any(each.dim() >= 2 and each.shape[-1] == self._logit_size for each in tensors)


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


def reconcile(counted: Batch | None, seen: list[Batch]) -> tuple[int | None, str]:
    """Compare a batch's shape with what the model was fed.

    Returns:
        How many tokens each sequence of a batch is shorter when it reaches the model (0 or 1), or `None` where the two
        cannot be reconciled; and a sentence.
    """
    hint = "pass FlopWatch(batch_shape=...), a function from a batch to (sequences, tokens per sequence)"
    if counted is None:
        return None, f"no tensor of token ids was found in the batch; {hint}"
    if not seen:
        return None, f"it could not be seen what the model is fed; {hint}"
    if len(seen) == 1 and seen[0].sequences == counted.sequences and 0 <= counted.seq_len - seen[0].seq_len <= 1:
        return counted.seq_len - seen[0].seq_len, "the model is fed what the batch holds"
    shapes = ", ".join(f"{each.sequences} x {each.seq_len}" for each in seen[:4])
    return None, (
        f"the batch holds {counted.sequences} x {counted.seq_len} tokens but the model was fed {shapes}; {hint}"
    )
