"""Measuring a Hugging Face model from its config alone. The only user of transformers, where that is installed."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from flopwatch.errors import ArgumentError, MeasurementError
from flopwatch.measure import Measurement, measure
from flopwatch.measure.meta import META
from flopwatch.model.architecture import AttentionConvention
from flopwatch.model.batch import Batch
from flopwatch.model.conventions import Convention
from flopwatch.model.estimate import Estimate
from flopwatch.model.families.config import counts_objects, read_mapping
from flopwatch.units import quoted

_DEFAULT_IMAGE = 224
_MOST = 10_000


def estimate_of(
    config: Path, batch: Batch, *, attention: AttentionConvention, convention: Convention = "model"
) -> Estimate:
    """Build the model of a config on the meta device and measure one training batch of it.

    Args:
        config: A `config.json` or its folder.
        batch: What goes into one forward pass.
        attention: "causal" leaves out what the causal flag of PyTorch's attention masks.
        convention: Only "model"; the others need to know the model's parts.

    Raises:
        MeasurementError: If transformers is not installed or does not know the model, or it cannot be run without data,
            or holds operators that cannot be counted.
        ArgumentError: If another convention is asked for, or the batch lacks what the model reads.
    """
    if convention != "model":
        raise ArgumentError(f"expected --convention model for a model without a closed form, got {convention}")
    values = read_mapping(config)
    model = _build(values)
    parameters = sum(each.numel() for each in model.parameters())
    measured = measure(model, attention=attention, **_inputs(model, batch))
    if measured.training_flops is None or measured.hardware_flops is None:
        lost = ", ".join((*(each.operator for each in measured.missing), *measured.unseen))
        raise MeasurementError(f"{type(model).__name__} uses operators that cannot be counted: {lost}")
    return Estimate(
        model_type=str(values["model_type"]),
        method="measured",
        parameters=parameters,
        active_parameters=parameters,
        convention="model",
        attention=attention,
        batch=batch,
        forward_flops=measured.forward_flops,
        training_flops=measured.training_flops,
        exact_training_flops=measured.training_flops,
        hardware_flops=measured.hardware_flops,
        components=measured.rows(model),
        batch_tokens=batch.tokens,
        notes=notes_of(measured),
    )


def notes_of(measured: Measurement) -> tuple[str, ...]:
    """What a reader should know of a measurement, in sentences."""
    uncounted = tuple(
        f"not counted: {each.operator}, {each.calls} call(s), no parameters involved" for each in measured.uncounted
    )
    return (*uncounted, *measured.assumptions)


def _build(values: Mapping[str, Any]) -> torch.nn.Module:
    _stay_offline()
    try:
        transformers = importlib.import_module("transformers")
    except ImportError:
        raise MeasurementError(
            "a model without a closed form is measured with transformers, which is not installed;"
            " run `pip install transformers`"
        ) from None
    transformers.logging.set_verbosity_error()
    if values.get("model_type") not in transformers.CONFIG_MAPPING:
        raise MeasurementError(f"transformers {transformers.__version__} does not support it either")
    _check_sizes(values)
    try:
        config = transformers.AutoConfig.for_model(**_without_choices(values))
        classes = [getattr(transformers, str(name), None) for name in values.get("architectures") or ()]
        made = next((each for each in classes if each is not None), None)
        with META:
            if made is not None:
                return made._from_config(config)  # type: ignore[no-any-return]
            return _automatic(transformers, config)
    except Exception as error:
        why = next(iter(str(error).splitlines()), "")[:200] or type(error).__name__
        raise MeasurementError(f"transformers cannot build a {quoted(values.get('model_type'))}: {why}") from error


def _stay_offline() -> None:
    """A config is data: it may name a backbone or a kernel on a hub, but this process asks nobody for it."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]


def _without_choices(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config without the implementations that it requests, which may come from a hub."""
    kept = {key: value for key, value in values.items() if not key.endswith("_implementation")}
    return {key: _without_choices(value) if isinstance(value, Mapping) else value for key, value in kept.items()}


def _check_sizes(values: Mapping[str, Any]) -> None:
    """Refuse a config that would take hours and all memory to build.

    Raises:
        MeasurementError: If there are more layers or labels than any model has.
    """
    for key, value in values.items():
        if isinstance(value, Mapping):
            _check_sizes(value)
        numbers = value if isinstance(value, (list, tuple)) else [value]
        large = any(isinstance(each, int) and each > _MOST for each in numbers)
        if large and counts_objects(key):
            raise MeasurementError(f"expected at most {_MOST:,} for {quoted(key)}, got {quoted(value)}")


def _automatic(transformers: Any, config: Any) -> torch.nn.Module:
    """The class that is trained most often for a kind of model."""
    names = ("ForCausalLM", "ForSeq2SeqLM", "ForMaskedLM", "ForImageTextToText", "ForImageClassification", "")
    for name in names:
        automatic = getattr(transformers, f"AutoModel{name}", None)
        if automatic is not None and type(config) in automatic._model_mapping:
            return automatic.from_config(config)  # type: ignore[no-any-return]
    raise ValueError(f"it has no class for training {type(config).__name__}")


def _inputs(model: Any, batch: Batch) -> dict[str, Any]:
    """The inputs that the model names as its own, in the shapes of the batch."""
    name = model.main_input_name
    if name == "pixel_values":
        size = batch.image_size or _image_size(model.config)
        channels = getattr(model.config, "num_channels", 3)
        return {"pixel_values": torch.empty(batch.sequences, channels, *size, device=META)}
    if name != "input_ids":
        raise MeasurementError(f"{type(model).__name__} reads {name!r}, whose shape is unknown")
    if not batch.tokens:
        raise ArgumentError("expected --seq-len, the tokens per sequence, got none")
    tokens = torch.zeros(batch.sequences, batch.seq_len, dtype=torch.long, device=META)
    if not getattr(model.config, "is_encoder_decoder", False):
        return {"input_ids": tokens}
    if not batch.source_len:
        raise ArgumentError("expected --source-len, the tokens that the encoder reads, got none")
    source = torch.zeros(batch.sequences, batch.source_len, dtype=torch.long, device=META)
    return {"input_ids": source, "decoder_input_ids": tokens}


def _image_size(config: Any) -> tuple[int, int]:
    size = getattr(config, "image_size", None) or _DEFAULT_IMAGE
    return (size, size) if isinstance(size, int) else (size[0], size[1])
