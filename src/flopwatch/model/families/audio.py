"""Models that hear: Whisper's encoder on the frames of every sound, a projector, a text model."""

from __future__ import annotations

from dataclasses import replace

from flopwatch.model.architecture import Architecture, Component
from flopwatch.model.components import Embedding, Linear, Norm
from flopwatch.model.families import blocks
from flopwatch.model.families.composite import joined, language_of, text_fields
from flopwatch.model.families.config import Fields
from flopwatch.model.families.encoders import attention, needs_mapping
from flopwatch.model.media import Clips

_TOWER, _PROJECTOR = "model.audio_tower", "model.multi_modal_projector"
_QKVO = ("q_proj", "k_proj", "v_proj", "out_proj")
_SOUND = ("sound",)


def _norm(name: str, features: int) -> Norm:
    return Norm(name, features, bias=True, reads=_SOUND, writes="sound")


def _whisper(audio: Fields) -> tuple[tuple[Component, ...], Clips]:
    """Whisper's encoder, and the positions that it gives: two convolutions, the second one halves them."""
    hidden, mels = audio.size_of("d_model", "hidden_size"), audio.size("num_mel_bins", 128)
    heads = audio.size_of("encoder_attention_heads", "num_attention_heads")
    inner = audio.size_of("encoder_ffn_dim", "intermediate_size")
    layers = audio.size_of("encoder_layers", "num_hidden_layers")
    positions = audio.size("max_source_positions", 1500)
    audio.refuse_left_out("encoder_layerdrop", "layerdrop")
    frames = Clips(((3, 1, 1),), 2 * positions)
    rows = frames.after((3, 2, 1))
    head_dim = blocks.split_heads(audio, hidden, heads)
    layer = (
        _norm("self_attn_layer_norm", hidden),
        attention(
            "self_attn", hidden, heads, head_dim, _QKVO, bias=(True, False, True, True), rows=rows, stream="sound"
        ),
        _norm("final_layer_norm", hidden),
        blocks.plain_mlp(hidden, inner, name="", names=("fc1", "fc2"), rows=rows, stream="sound"),
    )
    parts = (
        Linear(f"{_TOWER}.conv1", 3 * mels, hidden, True, None, frames, reads=("frames",), writes="sound", opened=True),
        Linear(f"{_TOWER}.conv2", 3 * hidden, hidden, True, None, rows, reads=_SOUND, writes="sound"),
        Embedding(f"{_TOWER}.embed_positions", positions, hidden, reads=(), writes="sound"),
        blocks.stack(f"{_TOWER}.layers", [("", layer)] * layers),
        _norm(f"{_TOWER}.layer_norm", hidden),
    )
    return parts, rows


def _projected(name: str, width: int, out: int, rows: Clips, *, bias: bool, writes: str) -> Linear:
    return Linear(f"{_PROJECTOR}.{name}", width, out, bias, None, rows, reads=_SOUND, writes=writes)


def qwen2_audio(fields: Fields) -> Architecture:
    """Qwen2-Audio (Chu et al., arXiv 2407.10759): Whisper's encoder, every two positions averaged, one matrix."""
    audio = needs_mapping(fields, "audio_config")
    tower, rows = _whisper(audio)
    width, hidden = audio.size("d_model"), text_fields(fields).size("hidden_size")
    last = _projected("linear", width, hidden, rows.after((2, 2, 0)), bias=True, writes="x")
    language = language_of(fields, "qwen2")
    model = joined(fields, language, tower, (last,), inputs="sounds and tokens")
    return replace(model, sound_frames=rows.length)


def voxtral(fields: Fields) -> Architecture:
    """Voxtral (Liu et al., arXiv 2507.13264): Whisper's encoder, four positions side by side, two layers."""
    fields = _with_text(fields)
    audio = needs_mapping(fields, "audio_config")
    tower, rows = _whisper(audio)
    width, wide = audio.size("hidden_size"), audio.size("intermediate_size")
    if wide % width:
        raise audio.unusable("intermediate_size", "a multiple of 'hidden_size'")
    merged = wide // width
    rows, hidden = rows.after((merged, merged, 0)), text_fields(fields).size("hidden_size")
    projector = (
        _projected("linear_1", wide, hidden, rows, bias=False, writes="sound"),
        _projected("linear_2", hidden, hidden, rows, bias=False, writes="x"),
    )
    language = language_of(fields, "llama")
    model = joined(fields, language, tower, projector, inputs="sounds and tokens")
    return replace(model, sound_frames=rows.length)


# What Hugging Face's class takes for the text model's fields where its config has fewer.
_VOXTRALS_TEXT = {
    "vocab_size": 131_072,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 30,
    "num_key_value_heads": 8,
    "head_dim": 128,
}


def _with_text(fields: Fields) -> Fields:
    text = {**_VOXTRALS_TEXT, **fields.mapping("text_config")}
    return Fields(fields.model_type, {**fields.values, "text_config": text})
