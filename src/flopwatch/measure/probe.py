"""A quick cross-check of a closed form against a run of the live model's own code, without its data or its depth."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from flopwatch.backward import Checkpointing, Trainable, recomputation, training_flops
from flopwatch.batch import Batch
from flopwatch.components import Architecture
from flopwatch.errors import MeasurementError
from flopwatch.measure import measure_training_step

_DEEPEST = 4
_MOST_SECONDS = 2.0


@dataclass(frozen=True)
class Verdict:
    """What a cross-check came to: `verified` at so many shapes, `disagree` with both numbers, or `impossible`.

    `recomputation_known` says whether the run recomputed what was expected of its activation checkpointing.
    """

    outcome: Literal["verified", "disagree", "impossible"]
    sentence: str
    recomputation_known: bool = False
    formula_flops: int | None = None
    measured_flops: int | None = None


def cross_check(
    module: nn.Module,
    model: nn.Module,
    architecture: Architecture,
    batch: Any,
    shape_of: Callable[[Any], Batch | None],
    *,
    trainable: Trainable,
    checkpointing: Checkpointing | None = "none",
    optimizers: int = 1,
) -> Verdict:
    """Run `training_step` of a shortened copy on the meta device, and hold the closed form of the same against it.

    The copy keeps one layer of every kind, at full width, and sees the batch's own shape and, where it can be cut, a
    shorter one, so that work per token and work per pair are told apart. Both sides count all pairs of attention.

    Args:
        module: The LightningModule.
        model: The module in it that the architecture describes.
        architecture: The closed form, under its own masks.
        batch: A batch.
        shape_of: What of a batch the model is fed.
        trainable: Which parameters train.
        checkpointing: How layers are checkpointed, as far as it shows.
        optimizers: How many optimizers the module has.
    """
    deep = any(len(stack.pattern) > _DEEPEST for _, stack in architecture.stacks())
    probe = architecture.as_reference().with_full_attention()
    probe = probe.shortened() if deep else probe
    dropped = _dropped_layers(model, architecture) if deep else {}
    checked, recomputes = 0, checkpointing is not None
    until = time.monotonic() + _MOST_SECONDS / 2
    for candidate in (batch, _shorter(batch, shape_of(batch))):
        shape = None if candidate is None else shape_of(candidate)
        if shape is None or shape.empty or (checked and time.monotonic() > until):
            continue
        try:
            measured = measure_training_step(module, candidate, optimizers=optimizers, dropped=dropped)
        except MeasurementError as error:
            if checked:
                break
            return Verdict("impossible", str(error))
        expected = training_flops(probe, shape, trainable)
        found = measured.training_flops
        if found is None:
            lost = ", ".join(each.operator for each in measured.uncounted if each.parameters)
            return Verdict("impossible", f"operators without a formula: {lost}")
        if found != expected:
            return _disagreement(shape, expected, found, deep)
        checked += 1
        again = recomputation(probe, shape, checkpointing or "none").flops
        recomputes = recomputes and measured.recomputed_flops == again
    if not checked:
        return Verdict("impossible", "the shape of the batch is not known")
    sentence = f"a run of its own code agrees to the FLOP at {checked} shape{'s' * (checked > 1)}"
    return Verdict("verified", sentence, recomputes)


def _disagreement(shape: Batch, expected: int, found: int, shortened: bool) -> Verdict:
    part = "one layer of each kind, " if shortened else ""
    sentence = (
        f"the closed form gives {expected:,} FLOPs for a training step ({part}{shape.sequences} x {shape.seq_len}, all"
        f" pairs), a run of the module's own code {found:,}; training_step may do more than one forward of the model"
    )
    return Verdict("disagree", sentence, False, expected, found)


def _shorter(batch: Any, shape: Batch | None) -> Any | None:
    """The same batch with about two thirds of the tokens; `None` where it is not made of plain tensors."""
    if shape is None or shape.seq_len < 4 or shape.source_len or shape.documents or shape.image_size:
        return None
    cut = shape.seq_len * 2 // 3 + 1

    def shorten(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            long_enough = value.dim() >= 2 and value.shape[1] >= shape.seq_len
            return value[:, : cut + value.shape[1] - shape.seq_len] if long_enough else value
        return value

    if isinstance(batch, torch.Tensor):
        return shorten(batch)
    if type(batch) is dict:
        return {key: shorten(value) for key, value in batch.items()}
    if type(batch) in (list, tuple):
        return type(batch)(shorten(value) for value in batch)
    return None


def _dropped_layers(model: nn.Module, architecture: Architecture) -> dict[int, list[int]]:
    """By the id of each stack's module list, which of its layers are left out."""
    dropped = {}
    for path, stack in architecture.stacks():
        try:
            layers = model.get_submodule(path)
        except AttributeError:
            raise MeasurementError(f"the module has no {path}, so its layers cannot be told apart") from None
        if stack.shared or len(layers) != len(stack.pattern):  # type: ignore[arg-type]
            continue
        kept = set(stack.shortened().indices or ())
        dropped[id(layers)] = [index for index in range(len(stack.pattern)) if index not in kept]
    return dropped
