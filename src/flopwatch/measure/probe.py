"""A quick cross-check of a closed form against a run of the live model's own code, without its data or its depth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from flopwatch.backward import Checkpointing, Trainable, recomputation, training_flops
from flopwatch.batch import Batch
from flopwatch.errors import MeasurementError
from flopwatch.measure import Measurement, measure
from flopwatch.measure.meta import META
from flopwatch.tree import Architecture

_DEEPEST = 4


@dataclass(frozen=True)
class Verdict:
    """What a cross-check came to: `verified` at so many shapes, `disagree` with both numbers, or `impossible`.

    `recomputation_known` says whether the run recomputed what was expected of its activation checkpointing.
    """

    outcome: Literal["verified", "disagree", "impossible"]
    sentence: str
    recomputation_known: bool = False


def cross_check(
    model: nn.Module,
    architecture: Architecture,
    shape: Batch,
    *,
    trainable: Trainable,
    checkpointing: Checkpointing | None = "none",
) -> Verdict:
    """Run a shortened copy of the live model on the meta device, and hold the closed form of the same against it.

    The copy keeps one layer of every kind, at full width, and sees the given shape and a smaller one, so that work per
    token and work per pair are told apart. Both sides count all pairs of attention. Only the model's forward runs, none
    of the training script.

    Args:
        model: The module that the architecture describes.
        architecture: The closed form, under its own masks.
        shape: What the model is fed.
        trainable: Which parameters train.
        checkpointing: How layers are checkpointed, as far as it shows.
    """
    deep = any(len(stack.pattern) > _DEEPEST for _, stack in architecture.stacks())
    probe = architecture.as_reference().with_full_attention()
    probe = probe.shortened() if deep else probe
    recomputes = checkpointing is not None
    shapes = [_plain(shape), _smaller(shape)]
    for each in shapes:
        try:
            inputs, named = _inputs(model, architecture, each)
            dropped = _dropped_layers(model, architecture) if deep else {}
            measured = measure(model, *inputs, dropped=dropped, **named)
        except MeasurementError as error:
            return Verdict("impossible", str(error))
        if not measured.complete:
            lost = ", ".join(each.operator for each in measured.missing)
            return Verdict("impossible", f"operators without a formula: {lost}")
        expected = training_flops(probe, each, trainable)
        if measured.training_flops != expected:
            return _disagreement(each, expected, measured, deep)
        again = recomputation(probe, each, checkpointing or "none").flops
        recomputes = recomputes and measured.recomputed_flops == again
    return Verdict("verified", f"a run of its own code agrees to the FLOP at {len(shapes)} shapes", recomputes)


def _disagreement(shape: Batch, expected: int, measured: Measurement, shortened: bool) -> Verdict:
    part = "one layer of each kind, " if shortened else ""
    found = measured.training_flops or 0
    sentence = (
        f"the closed form gives {expected:,} FLOPs forward and backward ({part}{shape.sequences} x"
        f" {shape.seq_len or shape.image_size}, all pairs of attention), a run of the model's own code {found:,}"
    )
    return Verdict("disagree", sentence)


def _plain(shape: Batch) -> Batch:
    return replace(shape, documents=())


def _smaller(shape: Batch) -> Batch:
    """Two thirds of the tokens and, of what has none, one sequence more."""
    if not shape.seq_len:
        return replace(shape, sequences=shape.sequences + 1)
    return replace(shape, seq_len=shape.seq_len * 2 // 3 + 1, documents=())


def _inputs(model: Any, architecture: Architecture, shape: Batch) -> tuple[list[torch.Tensor], dict[str, Any]]:
    """Inputs of that shape, by Hugging Face's names where it is such a model, else in their order."""
    tokens = torch.zeros(shape.sequences, shape.seq_len, dtype=torch.long, device=META)
    named: dict[str, Any]
    if architecture.inputs == "tokens":
        named = {"input_ids": tokens}
    elif architecture.inputs == "source and tokens":
        source = torch.zeros(shape.sequences, shape.source_len, dtype=torch.long, device=META)
        named = {"input_ids": source, "decoder_input_ids": tokens}
    elif architecture.inputs == "frames and tokens":
        mels = _from_config(model, "num_mel_bins")
        frames = torch.zeros(shape.sequences, mels, shape.source_len, device=META)
        named = {"input_features": frames, "decoder_input_ids": tokens}
    else:
        if shape.image_size is None:
            raise MeasurementError("the size of the images is not known")
        pixels = torch.zeros(shape.sequences, _from_config(model, "num_channels"), *shape.image_size, device=META)
        named = {"pixel_values": pixels}
        if architecture.inputs == "images and tokens":
            named["input_ids"] = tokens
    dtype = next((each.dtype for each in model.parameters() if each.is_floating_point()), torch.float32)
    named = {name: each.to(dtype) if each.is_floating_point() else each for name, each in named.items()}
    if not _is_huggingface(model):
        return list(named.values()), {}
    if architecture.causal:
        named["use_cache"] = False
    return [], named


def _is_huggingface(model: Any) -> bool:
    inner = getattr(model, "_orig_mod", model)
    return hasattr(inner, "main_input_name") or callable(getattr(inner, "get_base_model", None))


def _from_config(model: Any, name: str) -> int:
    config = getattr(model, "config", None)
    for each in (config, getattr(config, "vision_config", None)):
        value = getattr(each, name, None)
        if isinstance(value, int):
            return value
    raise MeasurementError(f"the model's config has no {name}")


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
