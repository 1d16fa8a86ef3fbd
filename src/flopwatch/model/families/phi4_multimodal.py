"""Phi-4-multimodal (Microsoft 2025, arXiv 2503.01743): SigLIP on tiles, a Conformer on sounds, and Phi-4-mini.

The adapters for images and sounds that its authors train are PEFT's: Hugging Face's class has none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flopwatch.model.architecture import Architecture, Component, Group, Stack
from flopwatch.model.batch import Rows
from flopwatch.model.components import AttentionCore, Embedding, Leaf, Linear, Norm, Vector
from flopwatch.model.families import blocks
from flopwatch.model.families.composite import features_of, joined
from flopwatch.model.families.config import Fields
from flopwatch.model.families.contrastive import siglip_vision
from flopwatch.model.families.text_models import text_model
from flopwatch.model.media import Clips
from flopwatch.model.resized import OfTiles, TellsUseful, Tiled
from flopwatch.model.row_blocks import Bands, InPieces, Longer, Where

_SEES, _HEARS = "model.embed_tokens_extend.image_embed", "model.embed_tokens_extend.audio_embed"
_HALVED = (3, 2, 1)
_LONGEST = 500  # positions of a sound that see each other

# Hugging Face's Phi4MultimodalVisionConfig and Phi4MultimodalAudioConfig.
_VISION: Mapping[str, Any] = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 448,
    "patch_size": 14,
    "crop_size": 448,
}
_AUDIO: Mapping[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 1536,
    "num_blocks": 24,
    "num_attention_heads": 16,
    "ext_pw_out_channel": 1024,
    "depthwise_separable_out_channel": 1024,
    "depthwise_multiplier": 1,
    "kernel_size": 3,
    "input_size": 80,
    "time_reduction": 8,
    "bias_max_distance": 1000,
    "nemo_conv_channels": 1024,
}


def phi4_multimodal(fields: Fields) -> Architecture:
    """Phi-4-multimodal; without an image, sounds go through a projector of their own."""
    fields = replace(fields, values={"num_key_value_heads": 8, **fields.values})
    language = text_model(replace(fields, values={**fields.values, "architectures": None}), "phi3")
    hidden = fields.size("hidden_size")
    vision = _part(fields, "vision_config", _VISION)
    side, patch = vision.size("image_size"), vision.size("patch_size")
    if vision.size("crop_size") != side:
        raise vision.unusable("crop_size", f"{side}, the size of its images,")
    return joined(
        fields,
        language,
        _images(vision, hidden, -(-(side // patch) // 2)),
        _sounds(_part(fields, "audio_config", _AUDIO), hidden),
        inputs="images, sounds and tokens",
        told=TellsUseful(side, patch),
        body="model.",
    )


def _part(fields: Fields, name: str, defaults: Mapping[str, Any]) -> Fields:
    return Fields(f"{fields.model_type} {name}", {**defaults, **fields.mapping(name)})


def _images(vision: Fields, hidden: int, across: int) -> tuple[Component, ...]:
    """SigLIP on all tiles, of which those that only fill up a batch run, too; the projector on what holds an image."""
    layers, stated = vision.size("num_hidden_layers"), vision.values.get("feature_layer", -2)
    if isinstance(stated, bool) or not isinstance(stated, int) or not -layers - 1 <= stated <= layers:
        raise vision.unusable("feature_layer", f"the number of one of its {layers} layers")
    tower = siglip_vision(vision, f"{_SEES}.img_processor")
    tower = features_of(tower, stated if stated >= 0 else layers + 1 + stated)
    seen, rows = vision.size("hidden_size"), Tiled(across)
    marks = (
        Vector(f"{_SEES}.{name}_img_feature_extensor", seen, bare=True, reads=(), writes="image", rows=rows)
        for name in ("global", "sub")
    )
    return (
        *(_on_tiles(part) for part in tower),
        *marks,
        _linear(f"{_SEES}.img_projection_up", seen, hidden, rows, "image"),
        _linear(f"{_SEES}.img_projection_down", hidden, hidden, rows, "image", "x"),
    )


def _on_tiles(part: Component) -> Component:
    """The same part on tiles, whose number is not that of images."""
    if isinstance(part, Leaf):
        names = (name for name in ("rows", "keys") if getattr(part, name, None) is not None)
        changes: dict[str, Any] = {name: OfTiles(getattr(part, name)) for name in names}
        return replace(part, **changes)
    if isinstance(part, Stack):
        kinds = (replace(kind, children=tuple(map(_on_tiles, kind.children))) for kind in part.kinds)
        return replace(part, kinds=tuple(kinds))
    return replace(part, children=tuple(map(_on_tiles, part.children)))


def _linear(name: str, width: int, out: int, rows: Rows, reads: str = "sound", writes: str | None = None) -> Linear:
    return Linear(name, width, out, True, None, rows, reads=(reads,), writes=writes or reads)


def _norm(name: str, features: int) -> Norm:
    return Norm(name, features, bias=True, reads=("sound",), writes="sound")


def _sounds(audio: Fields, hidden: int) -> tuple[Component, ...]:
    path, width, heads = f"{_HEARS}.encoder", audio.size("hidden_size"), audio.size("num_attention_heads")
    if audio.values.get("chunk_size", -1) > 0:
        raise audio.unusable("chunk_size", "-1: where chunks begin is random in training, so")
    if audio.values.get("downsample_rate", 1) != 1:
        raise audio.unusable("downsample_rate", "1")
    first, rows = _shortened(audio, f"{path}.embed")
    pieces = InPieces(rows, _LONGEST)
    distances = audio.size("bias_max_distance") * (1 if audio.flag("bias_symmetric", False) else 2)
    bias = f"{path}.relative_attention_bias_layer.bias_values"
    layers = blocks.stack(f"{path}.encoders", [("", _layer(audio, width, pieces))] * audio.size("num_blocks"))
    return (
        *first,
        Embedding(bias, distances, heads, reads=(), writes="b"),
        replace(layers, checkpointed=False),
        *_projector("speech", width, hidden, Where(rows, images=False)),
        *_projector("vision_speech", width, hidden, Where(rows, images=True)),
    )


def _shortened(audio: Fields, path: str) -> tuple[tuple[Component, ...], Clips]:
    """Convolutions of which each halves frames and bands: the first one whole, the others depthwise."""
    channels, bands, factor = (audio.size(each) for each in ("nemo_conv_channels", "input_size", "time_reduction"))
    if factor.bit_count() != 1 or factor == 1:
        raise audio.unusable("time_reduction", "a power of two")
    rows, parts = Clips(), []
    for number in range(factor.bit_length() - 1):
        rows, bands = rows.after(_HALVED), -(-bands // 2)
        positions = Bands(rows, bands)
        if not number:
            parts.append(_linear(f"{path}.conv.0", 9, channels, positions, "frames", "sound"))
            continue
        parts += [
            _linear(f"{path}.conv.{3 * number - 1}", 9, channels, positions),
            _linear(f"{path}.conv.{3 * number}", channels, channels, positions),
        ]
    return (*parts, _linear(f"{path}.out", channels * bands, audio.size("hidden_size"), rows)), rows


def _layer(audio: Fields, width: int, rows: Rows) -> tuple[Component, ...]:
    heads, inner = audio.size("num_attention_heads"), audio.size("intermediate_size")
    head_dim = blocks.split_heads(audio, width, heads)
    attention = (
        *(_linear(f"{each}_proj", width, width, rows, "sound", each) for each in "qkv"),
        AttentionCore("core", heads, head_dim, head_dim, causal=False, rows=rows, reads=("q", "k", "v", "b")),
        _linear("o_proj", width, width, rows, "o", "sound"),
    )
    return (
        _feed_forward("feed_forward_in", width, inner, rows),
        _norm("layer_norm_att", width),
        Group("self_attn", attention),
        _convolution(audio, width, rows),
        _feed_forward("feed_forward_out", width, inner, rows),
        _norm("layer_norm", width),
    )


def _feed_forward(name: str, width: int, inner: int, rows: Rows) -> Group:
    first = _linear("gate_up_proj", width, 2 * inner, rows, "sound", "h")
    return Group(name, (_norm("layer_norm", width), first, _linear("down_proj", inner, width, rows, "h", "sound")))


def _convolution(audio: Fields, width: int, rows: Rows) -> Group:
    """Two layers around a depthwise convolution, which is padded on both sides in Hugging Face's code."""
    kernel, out = audio.size("kernel_size"), audio.size("ext_pw_out_channel")
    between, inner = audio.size("depthwise_separable_out_channel"), width * audio.size("depthwise_multiplier")
    if out != width or between != width:
        raise audio.unusable("ext_pw_out_channel", f"{width}, as 'depthwise_separable_out_channel',")
    longer = Longer(rows, kernel - 1)
    depthwise = _linear("dw_sep_conv_1d.dw_conv", kernel, inner, rows)
    pointwise = _linear("dw_sep_conv_1d.pw_conv", inner, between, rows)
    return Group(
        "conv",
        (
            _norm("layer_norm", width),
            _linear("glu.ext_pw_conv_1d", width, 2 * out, rows),
            *(Vector(f"glu.{name}", out, bare=True, reads=("sound",), writes="sound") for name in ("b1", "b2")),
            *(replace(each, reference=replace(each, rows=longer)) for each in (depthwise, pointwise)),
            _linear("ext_pw_conv_1d", width, out, rows),
        ),
    )


def _projector(kind: str, width: int, hidden: int, rows: Rows) -> tuple[Component, ...]:
    return (
        _linear(f"{_HEARS}.up_proj_for_{kind}", width, hidden, rows, "sound", "h"),
        _linear(f"{_HEARS}.down_proj_for_{kind}", hidden, hidden, rows, "h", "x"),
    )
