"""Models that join a text model with encoders of images or sound: the sum of their parts, with the tokens of each.

A sequence's length counts the tokens that stand for its images and sounds. An encoder runs once for every image or
sound; its last part, the projector, writes into the text's stream. A pass without images runs no encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from flopwatch.model.architecture import Architecture, Component, Group, Inputs, Stack
from flopwatch.model.batch import Rows
from flopwatch.model.components import AttentionCore, Embedding, Leaf, Linear
from flopwatch.model.families.config import Fields
from flopwatch.model.families.encoders import needs_mapping
from flopwatch.model.families.text_models import text_model
from flopwatch.model.media import Told

# Classes whose head is tied if their text model's config says so, whatever stands beside it.
_EITHER = frozenset({"llava", "llava_onevision", "qwen2_vl", "qwen2_5_vl", "glm4v", "glm4v_moe"})
_TIED = "tie_word_embeddings"
_NAMES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
# What parts of published files leave out, since their class has it by default: width, its MLP's, layers, heads, others.
_DEFAULTS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        kind: {**dict(zip(_NAMES, sizes, strict=True)), **others}
        for kind, sizes, others in (
            ("llama", (4096, 11008, 32, 32), {"vocab_size": 32000}),
            ("mistral", (4096, 14336, 32, 32), {"num_key_value_heads": 8, "vocab_size": 32000}),
            ("qwen2", (4096, 22016, 32, 32), {"vocab_size": 151936}),
            ("granite", (4096, 11008, 32, 32), {"vocab_size": 32000}),
            ("cohere2", (8192, 22528, 40, 64), {"vocab_size": 256000}),
            ("clip_text_model", (512, 2048, 12, 8), {"vocab_size": 49408}),
            ("siglip_text_model", (768, 3072, 12, 12), {"vocab_size": 32000}),
            ("clip_vision_model", (768, 3072, 12, 12), {"image_size": 224}),
            ("siglip_vision_model", (768, 3072, 12, 12), {"image_size": 224}),
            ("siglip2_vision_model", (768, 3072, 12, 12), {}),
            ("pixtral", (1024, 4096, 24, 16), {}),
            ("idefics3_vision", (1152, 3072, 12, 16), {"image_size": 224}),
            ("smolvlm_vision", (1152, 3072, 12, 16), {"image_size": 224}),
            ("internvl_vision", (1024, 4096, 24, 16), {"image_size": 448}),
        )
    }
)


def completed(part: Fields, default: str = "") -> Fields:
    """The part of a joined config with the sizes that its own class has where the file leaves them out.

    Args:
        part: The part's fields.
        default: The part's `model_type` where the file does not say.
    """
    known = _DEFAULTS.get(str(part.values.get("model_type", default)), {})
    return replace(part, values={**known, **part.values})


def text_fields(fields: Fields, name: str = "text_config") -> Fields:
    """The fields of the text model, which older files have at the top, beside those of the encoder."""
    if fields.mapping(name):
        return completed(needs_mapping(fields, name))
    if fields.values.get("hidden_size") is None:
        return needs_mapping(fields, name)
    own = {key: value for key, value in fields.values.items() if not key.endswith("_config") and key != "model_type"}
    return Fields(f"{fields.model_type} text", own)


def language_of(
    fields: Fields,
    default: str,
    *,
    only: Sequence[str] = (),
    name: str = "text_config",
    without: Sequence[str] = (),
) -> Architecture:
    """Build the text model of a joined model.

    Published files leave `tie_word_embeddings` to the text model: transformers 5 says true for many joined classes,
    and still keeps the two matrices that the checkpoint has.

    Args:
        fields: The whole config, whose `tie_word_embeddings` counts before that of the text model.
        default: The text model's `model_type` where the config does not say.
        only: The model types that the class takes, any by default.
        name: The part of the config.
        without: Fields that the joined model does otherwise.

    Raises:
        ConfigError: If the text model has no closed form.
    """
    text = text_fields(fields, name)
    text = replace(text, values={key: value for key, value in text.values.items() if key not in without})
    kind = text.values.get("model_type") or default
    if only and kind not in only:
        raise text.unusable("model_type", " or ".join(map(repr, only)))
    if _TIED in fields.values and not (fields.model_type in _EITHER and text.flag(_TIED, False)):
        text = replace(text, values={**text.values, _TIED: fields.values[_TIED]})
    return text_model(text, str(kind))


def joined(
    fields: Fields,
    language: Architecture,
    *encoders: Sequence[Component],
    inputs: Inputs = "images and tokens",
    told: Told | None = None,
    within: Mapping[int, Sequence[Component]] | None = None,
    body: str = "model.language_model.",
    prefix: str = "",
) -> Architecture:
    """Word embeddings, the encoders, and the rest of the text model, under the names of the joined model.

    Args:
        fields: The whole config.
        language: The text model.
        encoders: The parts of each encoder with its projector.
        inputs: What a batch holds.
        told: What of a batch only values tell.
        within: Parts that follow a layer of the text model, by its number.
        body: Where the joined model keeps what the text model calls `model`.
        prefix: What stands before everything else, the head, in the joined model.
    """
    words, *rest = (_moved(component, body, prefix) for component in language.components)
    parts: list[Component] = []
    for part in rest:
        parts += interleaved(part, within) if within and isinstance(part, Stack) else [part]
    return Architecture(
        fields.model_type,
        (words, *(part for encoder in encoders for part in encoder), *parts),
        max_seq_len=language.max_seq_len,
        inputs=inputs,
        causal=language.causal,
        told=told,
    )


def _moved(component: Component, body: str, prefix: str) -> Component:
    name = _path(component.name, body, prefix)
    if isinstance(component, Linear | Embedding) and component.tied:
        return replace(component, name=name, tied=_path(component.tied, body, prefix))
    return replace(component, name=name)


def _path(name: str, body: str, prefix: str) -> str:
    return name.replace("model.", body, 1) if name.startswith("model.") else prefix + name


def interleaved(stack: Stack, after: Mapping[int, Sequence[Component]]) -> tuple[Component, ...]:
    """Cut a stack behind layers that other parts follow."""
    parts: list[Component] = []
    start = 0
    for end in sorted(after):
        parts += [replace(stack, pattern=stack.pattern[start : end + 1], start=start), *after[end]]
        start = end + 1
    return (*parts, replace(stack, pattern=stack.pattern[start:], start=start))


def both_ways(language: Architecture, tokens: Rows, *, windows_alone: bool = False) -> Architecture:
    """The tokens of one image see each other also forwards, in layers with a window alone or in all."""

    def widened(leaf: Leaf) -> Leaf:
        sees = isinstance(leaf, AttentionCore) and (leaf.window is not None or not windows_alone)
        return replace(leaf, forwards=tokens) if isinstance(leaf, AttentionCore) and sees else leaf

    return language.with_leaves(widened)


def all_pairs(language: Architecture) -> Architecture:
    """All pairs count, since where the mask begins to be causal is only known from the data."""
    return language.with_leaves(lambda leaf: replace(leaf, causal=False) if isinstance(leaf, AttentionCore) else leaf)


def unread(part: Component, endings: tuple[str, ...] = ("",)) -> Component:
    """The part without a gradient, if its name ends so: nothing reads what it writes."""
    if not part.name.endswith(endings):
        return part
    if isinstance(part, Leaf):
        return replace(part, no_grad=True)
    if isinstance(part, Stack):
        kinds = (replace(kind, children=tuple(map(unread, kind.children))) for kind in part.kinds)
        return replace(part, kinds=tuple(kinds))
    return replace(part, children=tuple(map(unread, part.children)))


def features_of(encoder: Sequence[Component], layers: int) -> tuple[Component, ...]:
    """Return the encoder, with everything after the given number of layers running without a gradient."""
    parts: list[Component] = []
    after = False
    for part in encoder:
        if isinstance(part, Stack):
            (kind,) = part.kinds
            rest = Group("unread", tuple(map(unread, kind.children)))
            pattern = tuple(int(index >= layers) for index in range(len(part.pattern)))
            parts.append(replace(part, kinds=(Group("read", kind.children), rest), pattern=pattern))
            after = True
        else:
            parts.append(unread(part) if after else part)
    return tuple(parts)
