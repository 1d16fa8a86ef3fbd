"""Granite Speech: a Conformer that attends within blocks, a Q-Former that asks each window of it, and Granite."""

from __future__ import annotations

from dataclasses import replace

from flopwatch.model.architecture import Architecture, Component, Group
from flopwatch.model.batch import Rows
from flopwatch.model.components import AttentionCore, Embedding, Linear, Norm, Vector
from flopwatch.model.families import blocks
from flopwatch.model.families.composite import interleaved, joined, language_of, text_fields
from flopwatch.model.families.config import Fields
from flopwatch.model.families.encoders import needs_mapping
from flopwatch.model.media import Clips
from flopwatch.model.row_blocks import Blocks, Once
from flopwatch.model.sounds import Pieces

_ENCODER, _PROJECTOR = "model.encoder", "model.projector"
_SOUND, _QUERY = "sound", "query"
_FRAMES = Clips()


def granite_speech(fields: Fields) -> Architecture:
    """Granite Speech (Saon et al., arXiv 2505.08699); adapters of its text model count where they are.

    `source_len` of a batch is in pairs of mel frames, 50 a second.
    """
    encoder = needs_mapping(fields, "encoder_config")
    hidden = encoder.size("hidden_dim", 1024)
    heard = (
        _linear(f"{_ENCODER}.input_linear", encoder.size("input_dim", 160), hidden, _FRAMES, reads="frames"),
        *_conformer(encoder, hidden),
    )
    language = language_of(fields, "granite")
    model = joined(fields, language, heard, _projector(fields, hidden), inputs="sounds in rows and tokens")
    return replace(model, frames_per_second=50)


def _linear(
    name: str,
    width: int,
    out: int,
    rows: Rows,
    *,
    bias: bool = True,
    reads: str = _SOUND,
    writes: str = _SOUND,
) -> Linear:
    return Linear(name, width, out, bias, None, rows, reads=(reads,), writes=writes)


def _norm(name: str, features: int, stream: str = _SOUND) -> Norm:
    return Norm(name, features, bias=True, reads=(stream,), writes=stream)


def _conformer(encoder: Fields, hidden: int) -> tuple[Component, ...]:
    """Layers, of which the middle one's result passes through the classes of a CTC head, too."""
    layers, classes = encoder.size("num_layers", 10), encoder.size("output_dim", 42)
    inner = hidden * encoder.size("feedforward_mult", 4)

    def mlp(name: str) -> Group:
        part = blocks.plain_mlp(hidden, inner, name="", rows=_FRAMES, stream=_SOUND)
        return Group(name, (_norm("pre_norm", hidden), *part.children))

    layer = (
        mlp("ff1"),
        _attention(encoder, hidden),
        _convolution(encoder, hidden),
        mlp("ff2"),
        _norm("post_norm", hidden),
    )
    runs = _FRAMES if layers > 1 else Clips(extra=0, across=0)
    middle = (
        _linear(f"{_ENCODER}.out", hidden, classes, runs, writes="classes"),
        _linear(f"{_ENCODER}.out_mid", classes, hidden, runs, reads="classes"),
    )
    stack = blocks.stack(f"{_ENCODER}.layers", [("", layer)] * layers)
    return interleaved(stack, {layers // 2 - 1: middle}) if layers > 1 else (stack, *middle)


def _attention(encoder: Fields, hidden: int) -> Group:
    """Attention within blocks, which are filled up, with embedded distances in the scores (Shaw, arXiv 1803.02155)."""
    heads, farthest = encoder.size("num_heads", 8), encoder.size("max_pos_emb", 512)
    head_dim = encoder.optional_size("dim_head") or hidden // heads
    width, size = heads * head_dim, encoder.size("context_size", 200)
    filled, kept = Blocks(_FRAMES, size), Pieces(size)

    def core(name: str, value_dim: int, reads: tuple[str, ...], writes: str) -> AttentionCore:
        """Over the frames that there are; Hugging Face's code computes filled blocks and masks them."""
        products = AttentionCore(name, heads, head_dim, value_dim, False, rows=kept, reads=reads, writes=writes)
        return replace(products, reference=replace(products, rows=filled))

    return Group(
        "attn",
        (
            _norm("pre_norm", hidden),
            _linear("to_q", hidden, width, filled, bias=False, writes="q"),
            _linear("to_kv", hidden, 2 * width, filled, bias=False, writes="kv"),
            Embedding("rel_pos_emb", 2 * farthest + 1, head_dim, reads=(), writes="r"),
            core("relative core", 0, ("q", "r", "r"), "s"),
            core("core", head_dim, ("q", "kv", "kv", "s"), "o"),
            _linear("to_out", width, hidden, _FRAMES, reads="o"),
        ),
    )


def _convolution(encoder: Fields, hidden: int) -> Group:
    inner, kernel = hidden * encoder.size("conv_expansion_factor", 2), encoder.size("conv_kernel_size", 15)
    return Group(
        "conv",
        (
            _norm("norm", hidden),
            _linear("up_conv", hidden, 2 * inner, _FRAMES, writes="h"),
            _linear("depth_conv.conv", kernel, inner, _FRAMES, bias=False, reads="h", writes="h"),
            _norm("batch_norm", inner, "h"),
            _linear("down_conv", inner, hidden, _FRAMES, reads="h"),
        ),
    )


def _projector(fields: Fields, seen: int) -> tuple[Component, ...]:
    """A few learned queries, the same ones for all windows until they have seen their window in the first layer."""
    former = needs_mapping(fields, "projector_config")
    if former.values.get("model_type", "blip_2_qformer") != "blip_2_qformer":
        raise former.unusable("model_type", "'blip_2_qformer'")
    former.refuse("use_qformer_text_input", "it reads text beside queries")
    window, rate = fields.size("window_size", 15), fields.size("downsample_rate", 5)
    if window % rate:
        raise fields.unusable("window_size", "a multiple of 'downsample_rate'")
    if former.size("encoder_hidden_size", 1408) != seen:
        raise former.unusable("encoder_hidden_size", f"the encoder's width, {seen},")
    hidden, queries = former.size("hidden_size", 768), window // rate
    rows, every = Blocks(_FRAMES, window, queries), former.size("cross_attention_frequency", 2)

    def layer(label: str) -> tuple[Component, ...]:
        alike: Rows = Once(queries, _FRAMES) if label == "first" else rows
        asks = _asking(former, hidden, seen, alike, rows, Blocks(_FRAMES, window)) if label != "other" else ()
        return (*_own(former, hidden, alike), *asks, *_answers(former, hidden, rows))

    kinds = [
        "first" if not index else "asking" if index % every == 0 else "other"
        for index in range(former.size("num_hidden_layers", 12))
    ]
    text = text_fields(fields).size("hidden_size")
    return (
        Vector(
            f"{_PROJECTOR}.query", queries * hidden, bare=True, reads=(), writes=_QUERY, rows=Once(queries, _FRAMES)
        ),
        _norm(f"{_PROJECTOR}.qformer.layernorm", hidden, _QUERY),
        blocks.stack_of(f"{_PROJECTOR}.qformer.encoder.layer", kinds, layer),
        _linear(f"{_PROJECTOR}.linear", hidden, text, rows, reads=_QUERY, writes="x"),
    )


def _own(former: Fields, hidden: int, rows: Rows) -> tuple[Component, ...]:
    heads = former.size("num_attention_heads", 12)
    head_dim = blocks.split_heads(former, hidden, heads)
    projections = (
        _linear(f"attention.attention.{name}", hidden, hidden, rows, reads=_QUERY, writes=name)
        for name in ("query", "key", "value")
    )
    query, key, value = (replace(each, writes=f"own {each.writes}") for each in projections)
    reads = (query.writes, key.writes, value.writes)
    return (
        query,
        key,
        value,
        AttentionCore("attention.core", heads, head_dim, head_dim, False, rows=rows, reads=reads),
        _linear("attention.output.dense", hidden, hidden, rows, reads="o", writes=_QUERY),
        _norm("attention.output.LayerNorm", hidden, _QUERY),
    )


def _asking(former: Fields, hidden: int, seen: int, asked: Rows, rows: Rows, window: Rows) -> tuple[Component, ...]:
    heads, path = former.size("num_attention_heads", 12), "crossattention"
    head_dim = blocks.split_heads(former, hidden, heads)
    return (
        _linear(f"{path}.attention.query", hidden, hidden, asked, reads=_QUERY, writes="cross_q"),
        _linear(f"{path}.attention.key", seen, hidden, window, writes="cross_k"),
        _linear(f"{path}.attention.value", seen, hidden, window, writes="cross_v"),
        AttentionCore(
            f"{path}.core",
            heads,
            head_dim,
            head_dim,
            False,
            rows=rows,
            keys=window,
            reads=("cross_q", "cross_k", "cross_v"),
            writes="cross_o",
        ),
        _linear(f"{path}.output.dense", hidden, hidden, rows, reads="cross_o", writes=_QUERY),
        _norm(f"{path}.output.LayerNorm", hidden, _QUERY),
    )


def _answers(former: Fields, hidden: int, rows: Rows) -> tuple[Component, ...]:
    names = ("intermediate_query.dense", "output_query.dense")
    inner = former.size("intermediate_size", 3072)
    return (
        blocks.plain_mlp(hidden, inner, name="", names=names, rows=rows, stream=_QUERY),
        _norm("output_query.LayerNorm", hidden, _QUERY),
    )
