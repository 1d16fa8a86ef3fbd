"""Measuring a Hugging Face model from its config alone. The only user of transformers, where that is installed."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from flopwatch.errors import ArgumentError, FlopwatchError, MeasurementError
from flopwatch.measure import Measurement, prefer_countable_experts, run_once, short
from flopwatch.measure.inputs import inputs_of, leaves_images_out
from flopwatch.measure.layouts import VISION, parts_of
from flopwatch.measure.meta import META
from flopwatch.measure.meta_counter import MetaCounter, causal_attention_whole
from flopwatch.measure.meta_values import BuiltWithValues, WholeNumbers
from flopwatch.model.architecture import AttentionConvention, tokens_of
from flopwatch.model.batch import FRAMES_PER_SECOND, Batch
from flopwatch.model.conventions import Convention
from flopwatch.model.estimate import Estimate, no_images
from flopwatch.model.families.config import counts_objects, read_mapping
from flopwatch.units import quoted

CPU = torch.device("cpu")
_MOST = 20_000


def estimate_of(
    config: Path,
    batch: Batch,
    *,
    attention: AttentionConvention,
    convention: Convention = "model",
    seconds: float | None = None,
) -> Estimate:
    """Build the model of a config on the meta device and measure one training batch of it.

    Args:
        config: A `config.json` or its folder.
        batch: What goes into one forward pass.
        attention: "causal" leaves out what the causal flag of PyTorch's attention masks.
        convention: Only "model"; the others need to know the model's parts.
        seconds: How long each sound is, instead of the batch's `source_len`.

    Raises:
        MeasurementError: If transformers is not installed or does not know the model, or it cannot be run without data,
            or holds operators that cannot be counted.
        ArgumentError: If another convention is asked for, or the batch lacks what the model reads.
    """
    if convention != "model":
        raise ArgumentError(f"expected --convention model for a model without a closed form, got {convention}")
    values = read_mapping(config)
    model = build(values)
    batch = batch if seconds is None else replace(batch, source_len=_length(model, seconds))
    parameters = sum(each.numel() for each in model.parameters())
    experts = _Experts(model)
    seen, alone = _with_images_or_without(model, batch, attention)
    if seen.training_flops is None or seen.hardware_flops is None:
        lost = ", ".join((*(each.operator for each in seen.missing), *seen.unseen))
        raise MeasurementError(f"{type(model).__name__} uses operators that cannot be counted: {lost}")
    return Estimate(
        model_type=str(values["model_type"]),
        method="measured",
        parameters=parameters,
        active_parameters=parameters - experts.idle_parameters(seen),
        convention="model",
        attention=attention,
        batch=batch,
        forward_flops=seen.forward_flops,
        training_flops=seen.training_flops,
        exact_training_flops=seen.training_flops,
        hardware_flops=seen.hardware_flops,
        components=seen.rows(model),
        batch_tokens=_tokens(model, batch),
        notes=(*notes_of(seen), *_left_out(values), *_a_part(values, model), *alone),
        is_masked=batch.tokens > 0,
    )


def _tokens(model: Any, batch: Batch) -> int:
    """Tokens of a batch, of source and target together; frames of sound and images are none."""
    of_words = getattr(model.config, "is_encoder_decoder", False) and model.main_input_name == "input_ids"
    return tokens_of("source and tokens" if of_words else "tokens", batch)


def _length(model: Any, seconds: float) -> int:
    """Samples of a sound at 16 kHz, or frames of its spectrogram, of which Whisper's kin have 100 a second."""
    names = inspect.signature(model.forward).parameters
    if "input_values" not in names and "input_features" not in names:
        raise ArgumentError(f"seconds: {type(model).__name__} hears no sounds")
    waves = "input_values" in names
    return round(seconds * (getattr(model.config, "sampling_rate", 16_000) if waves else FRAMES_PER_SECOND))


def _with_images_or_without(
    model: torch.nn.Module, batch: Batch, attention: AttentionConvention
) -> tuple[Measurement, tuple[str, ...]]:
    """Measure a batch; where nobody asked for images and the class cannot be given any, its text alone, and say so."""
    encodes = any(getattr(model.config, name, None) is not None for name in (*VISION, "audio_config"))
    asked = bool(batch.images or batch.image_size or batch.grids or batch.clips or batch.source_len)
    try:
        seen = measured(model, batch, attention)
    except MeasurementError as error:
        if asked or not encodes or batch.images == 0:
            raise
        why = f"text alone: no image or sound is counted, since {error}"
        try:
            return measured(model, replace(batch, images=0, clips=0), attention), (why,)
        except MeasurementError:
            raise error from None
    return seen, (no_images(batch),) if leaves_images_out(model, batch) else ()


class _Experts:
    """The experts of a model, of which each row meets a few: how many, by what their products cost."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._experts = {
            name: module for name, module in model.named_modules() if name.endswith("experts") and _stacked(module)
        }
        self._rows: Counter[str] = Counter()
        for name, module in self._experts.items():
            module.register_forward_pre_hook(partial(self._see, name))

    def _see(self, name: str, module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        rows = next((each.shape[:-1] for each in args if isinstance(each, torch.Tensor)), torch.Size((0,)))
        self._rows[name] += rows.numel()

    def idle_parameters(self, seen: Measurement) -> int:
        """Parameters of experts that a row does not meet: with `active` of them at work, its products are so small.

        Raises:
            MeasurementError: If the products do not tell.
        """
        return sum(self._idle(name, seen.by_module.get(name, 0)) for name in self._experts)

    def _idle(self, name: str, flops: int) -> int:
        stacked = _stacked(self._experts[name])
        experts, weights = int(stacked[0].shape[0]), sum(each.numel() for each in stacked)
        active, rest = divmod(flops * experts, 2 * self._rows[name] * weights or 1)
        if rest or active > experts:
            raise MeasurementError(f"it is unknown how many of the {experts} experts of {name} a token meets")
        own: int = sum(each.numel() for each in self._experts[name].parameters(recurse=False))
        return own // experts * (experts - active)


def _stacked(module: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The matrices of all experts in one."""
    return [each for each in module.parameters(recurse=False) if each.dim() == 3]


def measured(model: torch.nn.Module, batch: Batch, attention: AttentionConvention) -> Measurement:
    """Run a model that has no values in its weights; whole numbers, as token ids and grids are, have some.

    Where its code reads which experts are chosen, all are chosen equally often.
    """
    try:
        return _measured(model, batch, attention, WholeNumbers())
    except MeasurementError as unread:
        if not any(each in str(unread) for each in _UNREAD):
            raise
        try:
            seen = _measured(model, batch, attention, WholeNumbers(choices=True))
        except FlopwatchError:
            raise unread from None
    return replace(seen, assumptions=(*seen.assumptions, _EVENLY))


_UNREAD = ("depend on values", "reads a tensor's value", "tolist")
_EVENLY = "what is chosen by largest values, as experts are, was taken as chosen equally often"


def _measured(
    model: torch.nn.Module, batch: Batch, attention: AttentionConvention, values: WholeNumbers
) -> Measurement:
    counter = MetaCounter(model)
    try:
        with causal_attention_whole(), values, BuiltWithValues():
            inputs = inputs_for(model, batch)
            run_once(model, (), inputs, counter)
    except FlopwatchError:
        raise
    except Exception as error:
        raise MeasurementError(f"{type(model).__name__} cannot be run without data: {short(error)}") from error
    return counter.result(attention)


def _left_out(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Say which layers would be left out at random, by the config or by what its class takes where it does not say."""
    config = importlib.import_module("transformers").AutoConfig.for_model(**_without_implementations(values))
    named = sorted({name for _, name in _choices(config)})
    return (f"layers that {' and '.join(named)} would leave out at random count as if they ran",) if named else ()


def inputs_for(model: torch.nn.Module, batch: Batch) -> dict[str, Any]:
    """The inputs of a model without values, among which pixels have some: those of zero are taken for padding."""
    with MetaCounter(model):  # answers checks of values while encoders say how many features they give
        return without_sounds(inputs_of(model, batch, CPU))


_READ = ("pixel", "spectrogram_labels")


def without_sounds(inputs: dict[str, Any]) -> dict[str, Any]:
    """Only pixels and what is compared with a number keep their values.

    Of sounds classes want gradients, which are to be where those of weights are.
    """
    return {
        name: each.to(META)
        if isinstance(each, torch.Tensor) and each.is_floating_point() and not any(each in name for each in _READ)
        else each
        for name, each in inputs.items()
    }


def notes_of(measured: Measurement) -> tuple[str, ...]:
    """What a reader should know of a measurement, in sentences."""
    uncounted = tuple(
        f"not counted: {each.operator}, {each.calls} call(s), no parameters involved" for each in measured.uncounted
    )
    return (*uncounted, *measured.assumptions)


def build(values: Mapping[str, Any]) -> torch.nn.Module:
    """Build the class of a config on the meta device: the one that it names, or the one that is trained most often.

    Raises:
        MeasurementError: If transformers is not installed, does not know the model or cannot build it.
    """
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
        config = _with_all_layers(transformers.AutoConfig.for_model(**_without_implementations(values)))
        classes = [getattr(transformers, str(name), None) for name in values.get("architectures") or ()]
        made = next((each for each in classes if each is not None), None)
        with WholeNumbers(), BuiltWithValues():
            model = _automatic(transformers, config) if made is None else made._from_config(config)
    except Exception as error:
        lines = (line.strip() for line in str(error).splitlines())
        why = next(filter(None, lines), "")[:200] or type(error).__name__
        raise MeasurementError(f"transformers cannot build a {quoted(values.get('model_type'))}: {why}") from error
    model = _that_trains(model)
    prefer_countable_experts(model)
    _without_data(model)
    return model


def _that_trains(model: torch.nn.Module) -> torch.nn.Module:
    """The part that is trained of a class without a forward of its own, as Qwen's omni models have.

    Raises:
        MeasurementError: If it is unknown which.
    """
    if type(model).forward is not torch.nn.Module.forward:
        return model
    if isinstance(thinker := getattr(model, "thinker", None), torch.nn.Module):
        return thinker
    raise MeasurementError(f"{type(model).__name__} has no forward of its own; its parts are trained one by one")


def _a_part(values: Mapping[str, Any], model: Any) -> tuple[str, ...]:
    part = str(model.config.model_type)
    alone = part.endswith("_thinker") and part != values.get("model_type")
    return (f"{part} alone: what speaks is trained apart",) if alone else ()


def _without_data(model: torch.nn.Module) -> None:
    """Take the values of weights that the class makes in ways of its own, on the CPU."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and not parameter.is_meta:
                module._parameters[name] = torch.nn.Parameter(torch.empty_like(parameter, device=META))


def _stay_offline() -> None:
    """A config is data: it may name a backbone or a kernel on a hub, but this process asks nobody for it."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]


def _without_implementations(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config without the implementations that it requests from a hub."""
    kept = {key: value for key, value in values.items() if not str(key).endswith("_implementation")}
    kept |= {"use_cache": False} if "use_cache" in kept else {}
    inner = {key: _without_implementations(value) for key, value in kept.items() if isinstance(value, Mapping)}
    return {**kept, **inner}


def _with_all_layers(config: Any) -> Any:
    """The config with no layer left out at random, also where that is what its class takes."""
    for part, name in list(_choices(config)):
        setattr(part, name, 0.0)
    return config


def _choices(config: Any) -> Iterator[tuple[Any, str]]:
    """The fields that leave layers out at random, with the part of the config that has each."""
    for part in parts_of(config):
        yield from ((part, name) for name, value in getattr(part, "__dict__", {}).items() if _leaves_out(name, value))


def _leaves_out(key: str, value: Any) -> bool:
    """Whether a field leaves layers out at random."""
    return str(key).endswith(("layerdrop", "layer_drop", "drop_path_rate")) and bool(value)


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


# Kinds of heads, those that are trained most often first; a model with an encoder of images before its text alone.
_HEADS = (
    *("ForImageTextToText", "ForMultimodalLM", "ForSpeechSeq2Seq", "ForSeq2SeqLM", "ForCausalLM", "ForMaskedLM"),
    *("ForZeroShotImageClassification", "ForZeroShotObjectDetection", "ForCTC", "ForImageClassification"),
    *("ForVideoClassification", "ForObjectDetection", "ForUniversalSegmentation", "ForSemanticSegmentation"),
    *("ForDepthEstimation", "ForMaskGeneration", "ForAudioClassification", "ForTimeSeriesPrediction"),
    *("ForPreTraining", "ForTextToWaveform", ""),
)


def _automatic(transformers: Any, config: Any) -> torch.nn.Module:
    """The class that is trained most often for a kind of model."""
    for name in _HEADS:
        automatic = getattr(transformers, f"AutoModel{name}", None)
        if automatic is not None and type(config) in automatic._model_mapping:
            return automatic.from_config(config)  # type: ignore[no-any-return]
    raise ValueError(f"it has no class for training {type(config).__name__}")
