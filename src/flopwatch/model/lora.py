"""Which parameters a fine-tuning run will train, before there is a model: LoRA's targets and frozen parts, by path."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flopwatch.errors import ArgumentError
from flopwatch.model.architecture import Architecture
from flopwatch.model.backward import Adapter, Checkpointing, Trainable
from flopwatch.model.components import Embedding, Experts, Leaf, Linear
from flopwatch.units import quoted

ALL_LINEAR, ATTENTION = "all-linear", "attention"
_MOST_RANK = 2**20
_MOST_NAMES = 8


@dataclass(frozen=True)
class FineTuning:
    """What a run will train.

    Attributes:
        trainable: Frozen parameters and adapters, as the backward counts them.
        adapter_parameters: Parameters of all adapters.
        trained_parameters: Parameters that get a gradient, adapters included.
        words: What is adapted or frozen; empty if everything trains.
    """

    trainable: Trainable
    adapter_parameters: int
    trained_parameters: int
    words: str = ""


def fine_tuning(
    architecture: Architecture,
    *,
    lora_rank: int | None = None,
    lora_targets: str | Sequence[str] = ALL_LINEAR,
    freeze: Sequence[str] = (),
    checkpointing: Checkpointing = "none",
) -> FineTuning:
    """Say what trains: with LoRA the adapters alone, else everything but what is frozen.

    Args:
        architecture: The model.
        lora_rank: The adapters' rank; `None` for no adapters.
        lora_targets: "all-linear" for every linear layer but the head, "attention" for those of attention blocks, or
            names of layers such as "q_proj", as PEFT's `target_modules` matches them: a path's end. Of models with
            experts only layers of attention can be named, for what PEFT does with experts differs between versions.
        freeze: Paths of parts that do not train, with all that is below them, such as "model.vision_tower".
        checkpointing: How layers are checkpointed. If they are, PEFT makes the embeddings' output require a gradient
            (`enable_input_require_grads`), so that the first layers have one for their input, too.

    Raises:
        ArgumentError: If the rank is not positive, a target or path is not in the model, or "all-linear" is asked of a
            model with experts or convolutions, where it means other layers in other versions of PEFT.
    """
    if lora_rank is not None and not 0 < lora_rank <= _MOST_RANK:
        raise ArgumentError(f"expected a LoRA rank between 1 and {_MOST_RANK:,}, got {lora_rank}")
    leaves = dict(architecture.named_leaves())
    targets = {} if lora_rank is None else _targets(leaves, lora_targets)
    frozen = leaves if lora_rank is not None else _below(leaves, freeze)
    adapters = {path: Adapter(lora_rank or 0) for path in targets}
    added = sum((lora_rank or 0) * (leaf.in_features + leaf.out_features) for leaf in targets.values())
    own = architecture.parameters()
    left = 0 if lora_rank is not None else own - sum(leaf.parameters() for leaf in frozen.values())
    names = frozenset(name for path in frozen for name in _names(path))
    inputs = _embeddings(leaves) if lora_rank is not None and checkpointing != "none" else frozenset()
    return FineTuning(Trainable(names, adapters, inputs), added, left + added, _words(lora_rank, targets, freeze))


def _words(rank: int | None, targets: Mapping[str, Linear], freeze: Sequence[str]) -> str:
    if rank is None:
        return f"{', '.join(freeze)} frozen" if freeze else ""
    layers = list(dict.fromkeys(path.rpartition(".")[2] for path in targets))
    return f"LoRA of rank {rank} on {len(targets)} layers ({_few(layers)}), all else frozen"


def _embeddings(leaves: Mapping[str, Leaf]) -> frozenset[str]:
    """Tables of words, those that are tied to them, and what classes name as embeddings of images or sounds."""
    return frozenset(path for path, leaf in leaves.items() if _is_embedding(leaf))


def _is_embedding(leaf: Leaf) -> bool:
    if isinstance(leaf, Embedding):
        return leaf.words or leaf.tied is not None
    return isinstance(leaf, Linear) and leaf.opened


def _names(path: str) -> tuple[str, ...]:
    """Every name that a parameter of a part may have."""
    return path, f"{path}_bias", f"{path}.weight", f"{path}.bias"


def _targets(leaves: Mapping[str, Leaf], targets: str | Sequence[str]) -> dict[str, Linear]:
    layers = {path: leaf for path, leaf in leaves.items() if isinstance(leaf, Linear) and _can_be_adapted(path, leaf)}
    attention = {path: leaf for path, leaf in layers.items() if _is_in_attention(path)}
    routed = any(isinstance(leaf, Experts) for leaf in leaves.values())
    if targets == ALL_LINEAR:
        if routed or any("conv" in path for path in leaves):
            raise ArgumentError(
                f"expected {ATTENTION} or names of layers as LoRA's targets for a model with experts or convolutions:"
                f" which layers PEFT takes for linear ones depends on its version; this model has {_listed(attention)}"
            )
        return {path: leaf for path, leaf in layers.items() if leaf.role == "weight"}
    if targets == ATTENTION:
        if not attention:
            raise ArgumentError(f"expected attention to adapt, but no layer is in one; layers: {_listed(layers)}")
        return attention
    allowed = attention if routed else layers
    chosen: dict[str, Linear] = {}
    for name in [targets] if isinstance(targets, str) else targets:
        found = {path: leaf for path, leaf in allowed.items() if path == name or path.endswith(f".{name}")}
        if not found:
            raise ArgumentError(
                f"expected {ALL_LINEAR}, {ATTENTION} or names of linear layers as LoRA's targets, got {quoted(name)};"
                f" this model has {_listed(allowed, name)}"
            )
        chosen |= found
    return chosen


def _can_be_adapted(path: str, leaf: Linear) -> bool:
    """Whether PEFT puts an adapter beside it, be it one that never runs: not beside patches and convolutions."""
    return not leaf.bare and not leaf.tied and leaf.role != "patches" and "conv" not in path


def _is_in_attention(path: str) -> bool:
    return any("attn" in part or "attention" in part for part in path.lower().split(".")[:-1])


def _below(leaves: Mapping[str, Leaf], paths: Iterable[str]) -> dict[str, Leaf]:
    frozen: dict[str, Leaf] = {}
    for path in paths:
        found = {each: leaf for each, leaf in leaves.items() if each == path or each.startswith(f"{path}.")}
        if not found:
            tops = dict.fromkeys(".".join(each.split(".")[:2]) for each in leaves)
            raise ArgumentError(
                f"expected a part of the model to freeze, got {quoted(path)}; it has {_few(list(tops))}"
            )
        frozen |= found
    return frozen


def _listed(layers: Iterable[str], near: str = "") -> str:
    names = list(dict.fromkeys(path.rpartition(".")[2] for path in layers))
    close = difflib.get_close_matches(near, names, n=3)
    return _few(close or names)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
