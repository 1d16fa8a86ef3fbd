"""Models that see and hear: Qwen's thinkers, a text model with an encoder of images and videos and one of sounds."""

from __future__ import annotations

from flopwatch.model.architecture import Architecture, Component
from flopwatch.model.batch import Convolution, Rows
from flopwatch.model.components import Embedding, Linear, Norm
from flopwatch.model.families import blocks
from flopwatch.model.families.composite import joined, language_of
from flopwatch.model.families.config import Fields
from flopwatch.model.families.encoders import attention, needs_mapping
from flopwatch.model.families.grid_towers import Merger, qwen2_5_vision, qwen3_vision
from flopwatch.model.sounds import Pieces, TellsGridsAndSounds, WholeSounds, after

_TOWER = "model.audio_tower"
_SOUND = ("sound",)
_QKVO = ("q_proj", "k_proj", "v_proj", "out_proj")
_HALVED: Convolution = (3, 2, 1)
_MERGER = Merger("merger_list", "ln_q", "mlp.0", "mlp.2")
_PIECE_OF_QWEN3 = 13  # positions of a whole piece, which Qwen 3's code takes for granted


def _norm(name: str, features: int) -> Norm:
    return Norm(name, features, bias=True, reads=_SOUND, writes="sound")


def _linear(name: str, width: int, out: int, rows: Rows, *, bias: bool = True, writes: str = "sound") -> Linear:
    return Linear(f"{_TOWER}.{name}", width, out, bias, None, rows, reads=_SOUND, writes=writes)


def _first(name: str, values: int, out: int, rows: Rows) -> Linear:
    """The convolution over frames, which have no gradient."""
    return Linear(f"{_TOWER}.{name}", values, out, True, None, rows, reads=("frames",), writes="sound", opened=True)


def _layers(audio: Fields, rows: Rows, *, key_bias: bool) -> tuple[Component, ...]:
    """Whisper's layers on positions that attend among themselves as the rows tell."""
    hidden, heads, inner = (audio.size(each) for each in ("d_model", "encoder_attention_heads", "encoder_ffn_dim"))
    bias, head_dim = (True, key_bias, True, True), blocks.split_heads(audio, hidden, heads)
    layer = (
        _norm("self_attn_layer_norm", hidden),
        attention("self_attn", hidden, heads, head_dim, _QKVO, bias=bias, rows=rows, stream="sound"),
        _norm("final_layer_norm", hidden),
        blocks.plain_mlp(hidden, inner, name="", names=("fc1", "fc2"), rows=rows, stream="sound"),
    )
    layers = blocks.stack(f"{_TOWER}.layers", [("", layer)] * audio.size("encoder_layers"))
    return layers, _norm(f"{_TOWER}.ln_post", hidden)


def _qwen2_5_hearing(audio: Fields) -> tuple[Component, ...]:
    """Whisper's encoder on pieces of a sound, whose positions are averaged two by two; one matrix."""
    hidden, mels, out = audio.size("d_model"), audio.size("num_mel_bins", 128), audio.size("output_dim")
    rows = Pieces(2 * audio.size("n_window", 100), ((3, 1, 1), _HALVED))
    frames, filled = (Pieces(rows.frames, steps, filled=True) for steps in (rows.steps[:1], rows.steps))
    return (
        Embedding(f"{_TOWER}.audio_bos_eos_token", 2, out, reads=(), writes="unread"),
        _first("conv1", 3 * mels, hidden, frames),
        _linear("conv2", 3 * hidden, hidden, filled),
        *_layers(audio, rows, key_bias=False),
        _linear("proj", hidden, out, WholeSounds((*rows.steps, (2, 2, 0))), writes="x"),
    )


def _qwen3_hearing(audio: Fields) -> tuple[Component, ...]:
    """Three convolutions over time and pitch of each piece, layers on several pieces at a time, two matrices."""
    hidden, channels = audio.size("d_model"), audio.size("downsample_hidden_size", 480)
    piece = 2 * audio.size("n_window", 50)
    if after(piece, (_HALVED,) * 3) != _PIECE_OF_QWEN3:
        raise audio.unusable("n_window", "50, the only one that Qwen 3's code can run,")
    together = audio.size("n_window_infer", 800) // piece
    if not together:
        raise audio.unusable("n_window_infer", f"at least {piece} frames, one piece,")
    bands = [after(audio.size("num_mel_bins", 128), (_HALVED,) * times) for times in (1, 2, 3)]
    convolved = [Pieces(piece, (_HALVED,) * times, filled=True, across=across) for times, across in enumerate(bands, 1)]
    positions = Pieces(piece, (_HALVED,) * 3, filled=True)
    rows = Pieces(piece, (_HALVED,) * 3, together=together)
    return (
        _first("conv2d1", 9, channels, convolved[0]),
        _linear("conv2d2", 9 * channels, channels, convolved[1]),
        _linear("conv2d3", 9 * channels, channels, convolved[2]),
        _linear("conv_out", channels * bands[2], hidden, positions, bias=False),
        *_layers(audio, rows, key_bias=True),
        _linear("proj1", hidden, hidden, rows),
        _linear("proj2", hidden, audio.size("output_dim"), rows, writes="x"),
    )


def qwen2_5_omni_thinker(fields: Fields) -> Architecture:
    """Qwen2.5-Omni's thinker (Xu et al., arXiv 2503.20215): Qwen2.5-VL's encoder and Whisper's on two-second pieces."""
    hearing = _qwen2_5_hearing(needs_mapping(fields, "audio_config"))
    seeing = qwen2_5_vision(needs_mapping(fields, "vision_config"), fused=False)
    language = language_of(fields, "qwen2_5_omni_text")
    return joined(fields, language, hearing, seeing, inputs="grids, sounds and tokens", told=TellsGridsAndSounds())


def qwen3_omni_moe_thinker(fields: Fields) -> Architecture:
    """Qwen3-Omni's thinker (Xu et al., arXiv 2509.17765): Qwen3-VL's encoder, one of sounds, a mixture of experts."""
    hearing = _qwen3_hearing(needs_mapping(fields, "audio_config"))
    seeing, within = qwen3_vision(fields, _MERGER, deep=True)
    language = language_of(fields, "qwen3_omni_moe_text")
    return joined(
        fields,
        language,
        hearing,
        seeing,
        inputs="grids, sounds and tokens",
        told=TellsGridsAndSounds(),
        within=within,
    )


def qwen2_5_omni(fields: Fields) -> Architecture:
    """Qwen2.5-Omni as a whole: its thinker, which is the part that is trained."""
    return qwen2_5_omni_thinker(_thinker(fields))


def qwen3_omni_moe(fields: Fields) -> Architecture:
    """Qwen3-Omni as a whole: its thinker, which is the part that is trained."""
    return qwen3_omni_moe_thinker(_thinker(fields))


def _thinker(fields: Fields) -> Fields:
    return Fields(f"{fields.model_type}_thinker", needs_mapping(fields, "thinker_config").values)
