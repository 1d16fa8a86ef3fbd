"""From a config to the exact arithmetic of its model: a table of `model_type`, one short module per kind of model."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from flopwatch.errors import UnknownModelError
from flopwatch.model.architecture import Architecture
from flopwatch.model.families import (
    audio,
    conformers,
    contrastive,
    convnets,
    deberta,
    encoders,
    gemma_towers,
    granite_speech,
    grid_towers,
    longt5,
    modern_encoders,
    moonvit,
    omni,
    phi4_multimodal,
    seq2seq,
    t5gemma,
    tile_towers,
    torchvision_models,
    vision,
)
from flopwatch.model.families.config import Fields, read_mapping
from flopwatch.model.families.heads import with_head
from flopwatch.model.families.mtp import with_predictions
from flopwatch.model.families.text_models import DECODERS, Builder
from flopwatch.units import quoted

_LONGEST_LIST = 200
# What publishers' own code calls models that transformers has under another name, with other fields.
_OWN_CLASSES = {"internvl_chat": "internvl", "minimax_text_01": "minimax", "phi4mm": "phi4_multimodal"}
# A field that gives away which other file it is.
_OTHER_FILES = MappingProxyType(
    {
        "peft_type": "an adapter's config of PEFT",
        "_diffusers_version": "a file of diffusers",
        "weight_map": "the index of a checkpoint",
        "image_processor_type": "an image processor's config",
        "feature_extractor_type": "a feature extractor's config",
        "tokenizer_class": "a tokenizer's config",
        "added_tokens": "a tokenizer",
        "zero_optimization": "a config of DeepSpeed",
        "n_kv_heads": "a params.json of Meta's",
        "multiple_of": "a params.json of Meta's",
        "eos_token_id": "a generation config",
    }
)
_CAUSAL = ("ForCausalLM", "LMHeadModel")
_MASKED = ("ForMaskedLM",)
_SEQ2SEQ = ("ForConditionalGeneration", "MTModel")
_JOINED = ("ForConditionalGeneration",)
_IMAGES = ("ForImageClassification",)
_CTC = ("ForCTC",)


def _table(endings: tuple[str, ...], *builders: Builder) -> dict[str, tuple[Builder, tuple[str, ...]]]:
    return {builder.__name__: (builder, endings) for builder in builders}


# model_type: what builds it, and how the names of the Hugging Face classes end that it describes.
_FAMILIES: Mapping[str, tuple[Builder, tuple[str, ...]]] = MappingProxyType(
    {
        **{name: (builder, _CAUSAL) for name, builder in DECODERS.items()},
        **_table(_MASKED, encoders.bert, encoders.roberta, encoders.distilbert, encoders.albert, encoders.electra),
        **_table(_MASKED, encoders.modernbert, encoders.esm, modern_encoders.eurobert),
        **_table(("LMHead",), modern_encoders.neobert),
        **_table(_JOINED, audio.qwen2_audio, audio.voxtral, granite_speech.granite_speech),
        **_table(_JOINED, omni.qwen2_5_omni_thinker, omni.qwen3_omni_moe_thinker),
        **_table(_SEQ2SEQ, seq2seq.t5, seq2seq.bart, seq2seq.pegasus, seq2seq.marian, seq2seq.whisper),
        **_table(_SEQ2SEQ, seq2seq.mt5, seq2seq.umt5, seq2seq.m2m_100, t5gemma.t5gemma, longt5.longt5),
        **_table(_IMAGES, vision.vit, vision.deit, vision.dinov2, convnets.swin, convnets.convnext, convnets.resnet),
        **_table(_JOINED, tile_towers.gemma3, tile_towers.llava, tile_towers.llava_next, tile_towers.llava_onevision),
        **_table(_JOINED, tile_towers.paligemma, tile_towers.internvl, tile_towers.idefics3, tile_towers.smolvlm),
        **_table(
            _JOINED, tile_towers.aya_vision, tile_towers.cohere2_vision, tile_towers.deepseek_vl, tile_towers.llama4
        ),
        **_table(_JOINED, grid_towers.mistral3, grid_towers.lfm2_vl, gemma_towers.gemma4, gemma_towers.gemma3n),
        **_table(_CAUSAL, phi4_multimodal.phi4_multimodal),
        **_table(_JOINED, moonvit.kimi_vl, moonvit.kimi_k25),
        **_table(_JOINED, grid_towers.qwen2_vl, grid_towers.qwen2_5_vl, grid_towers.qwen3_vl, grid_towers.qwen3_vl_moe),
        **_table(_JOINED, grid_towers.qwen3_5, grid_towers.qwen3_5_moe, grid_towers.glm4v, grid_towers.glm4v_moe),
        **_table(_CTC, conformers.parakeet_ctc),
        **_table(("Model",), vision.dinov3_vit, contrastive.clip, contrastive.siglip),
        **_table((), vision.dit, torchvision_models.torchvision_resnet, omni.qwen2_5_omni, omni.qwen3_omni_moe),
        "xlm-roberta": (encoders.roberta, _MASKED),
        "deberta-v2": (deberta.deberta_v2, _MASKED),
    }
)
ARCHITECTURES: Mapping[str, Builder] = MappingProxyType({name: builder for name, (builder, _) in _FAMILIES.items()})


def architecture_of(source: object, *, mtp: bool = False) -> Architecture:
    """Build the architecture that a config describes.

    Args:
        source: A path to `config.json` or its folder, a mapping, a dataclass or a Hugging Face config. It is only
            read; neither torch nor transformers is imported.
        mtp: Whether its multi-token prediction layers train, which Hugging Face's classes leave out.

    Raises:
        UnknownModelError: If the `model_type` is missing or has no closed form.
        ConfigError: If a field that the count depends on is missing or unusable, or the config is for another head
            than the one that is counted.
    """
    values = read_mapping(source)
    model_type = values.get("model_type")
    if not isinstance(model_type, str):
        said = "expected a config with a 'model_type', such as 'llama' or 'bert', got"
        raise UnknownModelError(f"{said} {_instead(values)}", measurable=False)
    if model_type not in ARCHITECTURES:
        raise _unknown(model_type, values)
    builder, endings = _FAMILIES[model_type]
    fields, name = Fields(model_type, values), _class_of(values)
    if not name or not endings or name.endswith(endings):
        return with_predictions(fields, builder(fields)) if mtp else builder(fields)
    other = with_head(fields, builder(fields), name)
    if other is None or mtp:
        raise _another_head(model_type, name, endings)
    return other


def _instead(values: Mapping[str, object]) -> str:
    """What a mapping without a model type is, and what to pass in its place."""
    is_model = "architectures" in values or "hidden_size" in values
    found = None if is_model else next((kind for field, kind in _OTHER_FILES.items() if field in values), None)
    return (
        f"{found} instead; pass the model's config.json"
        if found
        else "one without; pass the model's config.json, or add it"
    )


def _unknown(model_type: str, values: Mapping[str, object]) -> UnknownModelError:
    inner = values.get("text_config")
    parts = [name for name in values if name.endswith("_config") and isinstance(values[name], Mapping)]
    if isinstance(inner, Mapping) and inner.get("model_type") in ARCHITECTURES:
        return UnknownModelError(
            f"model_type {quoted(model_type)} combines several models in a way that has no closed form; to count the"
            f" text model only, pass its 'text_config' ({inner['model_type']})"
        )
    if model_type in _OWN_CLASSES:
        return UnknownModelError(
            f"model_type {quoted(model_type)} is code of its publisher; transformers has the model as"
            f" {_OWN_CLASSES[model_type]}: give the config that is published for that"
        )
    if len(parts) > 1:
        return UnknownModelError(
            f"model_type {quoted(model_type)} combines several models ({', '.join(parts)[:_LONGEST_LIST]}) in a way"
            " that has no closed form"
        )
    close = difflib.get_close_matches(model_type, ARCHITECTURES, n=3)
    known = (
        f"did you mean {' or '.join(close)}?"
        if close
        else (f"docs/models.md lists the {len(ARCHITECTURES)} known ones")
    )
    return UnknownModelError(f"no closed form for model_type {quoted(model_type)}; {known}")


def _class_of(values: Mapping[str, object]) -> str:
    """The Hugging Face class that a config names; the first, if several."""
    classes = values.get("architectures")
    return str(classes[0])[:_LONGEST_LIST] if isinstance(classes, (list, tuple)) and classes else ""


def _another_head(model_type: str, name: str, endings: tuple[str, ...]) -> UnknownModelError:
    return UnknownModelError(
        f"the {model_type} config is for {name}, which has no closed form; to count the class that ends in"
        f" {' or '.join(endings)} instead, remove 'architectures' from the config"
    )
