"""Gemma 4 with its encoders: images as patches that are filled up, sounds in blocks that look back a little."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flopwatch.model.architecture import Architecture, Component, Group
from flopwatch.model.batch import Batch, Rows
from flopwatch.model.components import AttentionCore, Leaf, Linear, Norm, Vector
from flopwatch.model.families import blocks
from flopwatch.model.families.composite import both_ways, joined, language_of
from flopwatch.model.families.config import Fields
from flopwatch.model.families.encoders import needs_mapping
from flopwatch.model.families.gemma3n import WHOLE, Blend
from flopwatch.model.media import Bands, Blocks, Clips, Grids, Once, PaddedPatches, TellsPlaces

_SEES, _HEARS = "model.vision_tower", "model.audio_tower"
_HALVED = (3, 2, 1)


@dataclass(frozen=True)
class PoolingProduct(Leaf):
    """The average over squares of patches as Hugging Face's code takes it: by a matrix with a row for each square."""

    features: int
    square: int
    rows: Rows

    def forward_flops(self, batch: Batch) -> int:
        """Count 2 * squares * patches * features FLOPs for every image."""
        spans = self.rows.spans(batch)
        return sum(2 * count * (length // self.square) * length * self.features for length, count in spans)


def gemma4(fields: Fields) -> Architecture:
    """Gemma 4 (Google 2026): an encoder of images, in small models one of sounds, and the text model.

    In some models the tokens of an image see each other also forwards, in the layers with a window.
    """
    language = language_of(fields, "gemma4_text", tied=True, only=("gemma4_text",))
    text, hears = needs_mapping(fields, "text_config"), fields.values.get("audio_config") is not None
    hidden = text.size("hidden_size", 2304)
    if fields.values.get("vision_config") is None and not hears:
        return joined(fields, language, inputs="tokens")
    vision = needs_mapping(fields, "vision_config")
    rows = Grids(vision.size("patch_size", 16), vision.size("pooling_kernel_size", 3))
    by_kind = text.values.get("use_bidirectional_attention") == "vision"
    return joined(
        fields,
        both_ways(language, rows.tokens(), windows_alone=True) if by_kind else language,
        _images(vision, rows, hidden),
        _sounds(needs_mapping(fields, "audio_config"), hidden) if hears else (),
        inputs="grids, sounds and tokens" if hears else "grids and tokens",
        told=TellsPlaces(rows.patch, rows.merge, by_kind),
    )


def _norm(name: str, features: int, stream: str) -> Norm:
    return Norm(name, features, reads=(stream,), writes=stream)


def _linear(
    name: str, width: int, out: int, rows: Rows, reads: str, writes: str | None = None, *, bias: bool = False
) -> Linear:
    return Linear(name, width, out, bias, None, rows, reads=(reads,), writes=writes or reads)


def _images(vision: Fields, rows: Grids, hidden: int) -> tuple[Component, ...]:
    """Layers with four norms over patches of images that are all filled up; then an average over squares of them."""
    seen, inner = vision.size("hidden_size", 768), vision.size("intermediate_size", 3072)
    padded, square = PaddedPatches(rows), rows.merge**2
    product = PoolingProduct("pool", seen, square, padded, reads=("image",), writes="image") if square > 1 else None
    layer = (
        _norm("input_layernorm", seen, "image"),
        _image_attention(vision, seen, padded),
        _norm("post_attention_layernorm", seen, "image"),
        _norm("pre_feedforward_layernorm", seen, "image"),
        blocks.gated_mlp(
            seen,
            inner,
            names=("gate_proj.linear", "up_proj.linear", "down_proj.linear"),
            rows=padded,
            stream="image",
        ),
        _norm("post_feedforward_layernorm", seen, "image"),
    )
    places = 2 * vision.size("position_embedding_size", 10_240) * seen
    return (
        Linear(
            f"{_SEES}.patch_embedder.input_proj",
            3 * rows.patch**2,
            seen,
            rows=padded,
            role="patches",
            reads=("pixels",),
            writes="image",
        ),
        Vector(f"{_SEES}.patch_embedder.position_embedding_table", places, bare=True, reads=(), writes="image"),
        blocks.stack(f"{_SEES}.encoder.layers", [("", layer)] * vision.size("num_hidden_layers", 16)),
        Leaf("pool", reads=("image",), writes="image", reference=product),
        _linear("model.embed_vision.embedding_projection", seen, hidden, rows.tokens(), "image", "x"),
    )


def _image_attention(vision: Fields, seen: int, rows: Rows) -> Group:
    heads, head_dim = vision.size("num_attention_heads", 12), vision.size("head_dim", 64)
    groups = vision.size("num_key_value_heads", 12)
    return Group(
        "self_attn",
        (
            _linear("q_proj.linear", seen, heads * head_dim, rows, "image", "q"),
            _linear("k_proj.linear", seen, groups * head_dim, rows, "image", "k"),
            _linear("v_proj.linear", seen, groups * head_dim, rows, "image", "v"),
            *blocks.head_norms(head_dim),
            AttentionCore("core", heads, head_dim, head_dim, causal=False, rows=rows),
            _linear("o_proj.linear", heads * head_dim, seen, rows, "o", "image"),
        ),
    )


def _sounds(audio: Fields, hidden: int) -> tuple[Component, ...]:
    """A Conformer (Gulati et al., arXiv 2005.08100) on a quarter of the frames, and its projector."""
    width, out = audio.size("hidden_size", 1024), audio.size("output_proj_dims", 1536)
    first, second = (
        audio.sizes("subsampling_conv_channels") if "subsampling_conv_channels" in audio.values else (128, 32)
    )
    halved = Clips((_HALVED,))
    rows, path = halved.after(_HALVED), f"{_HEARS}.subsample_conv_projection"
    layers = blocks.stack(
        f"{_HEARS}.layers", [("", _conformer(audio, width, rows))] * audio.size("num_hidden_layers", 12)
    )
    return (
        # As many bands as the first convolution has channels, which its class takes for granted.
        _linear(f"{path}.layer0.conv", 9, first, Bands(halved, first // 2), "frames", "sound"),
        _norm(f"{path}.layer0.norm", first, "sound"),
        _linear(f"{path}.layer1.conv", 9 * first, second, Bands(rows, first // 4), "sound"),
        _norm(f"{path}.layer1.norm", second, "sound"),
        _linear(f"{path}.input_proj_linear", first // 4 * second, width, rows, "sound"),
        replace(layers, checkpointed=False),
        _linear(f"{_HEARS}.output_proj", width, out, rows, "sound", bias=True),
        _linear("model.embed_audio.embedding_projection", out, hidden, rows, "sound", "x"),
    )


def _conformer(audio: Fields, width: int, rows: Clips) -> tuple[Component, ...]:
    kernel = audio.size("conv_kernel_size", 5)
    return (
        _feed_forward("feed_forward1", width, rows),
        _norm("norm_pre_attn", width, "sound"),
        _local_attention(audio, width, rows),
        _norm("norm_post_attn", width, "sound"),
        Group(
            "lconv1d",
            (
                _norm("pre_layer_norm", width, "sound"),
                _linear("linear_start.linear", width, 2 * width, rows, "sound"),
                _linear("depthwise_conv1d", kernel, width, rows, "sound"),
                _norm("conv_norm", width, "sound"),
                _linear("linear_end.linear", width, width, rows, "sound"),
            ),
        ),
        _feed_forward("feed_forward2", width, rows),
        _norm("norm_out", width, "sound"),
    )


def _feed_forward(name: str, width: int, rows: Rows) -> Group:
    return Group(
        name,
        (
            _norm("pre_layer_norm", width, "sound"),
            _linear("ffw_layer_1.linear", width, 4 * width, rows, "sound"),
            _linear("ffw_layer_2.linear", 4 * width, width, rows, "sound"),
            _norm("post_layer_norm", width, "sound"),
        ),
    )


def _local_attention(audio: Fields, width: int, rows: Clips) -> Group:
    """Attention to a few positions before, with a product for how far back they are (arXiv 1901.02860).

    Hugging Face's code takes queries in blocks, and for each of them as many keys as any of the block may see.
    """
    heads, size = audio.size("num_attention_heads", 8), audio.size("attention_chunk_size", 12)
    audio.refuse("attention_context_right", "sounds look ahead")
    back = audio.size("attention_context_left", 13) - 1
    seen, head_dim = size + back, blocks.split_heads(audio, width, heads)
    distances, queries = seen // 2 + 1, Blocks(rows, size)
    reads = ("q", "k", "v", "b")
    relative = Blend(
        "relative", 2 * width * distances, chunk=WHOLE, padded=False, rows=rows, reads=("q", "r"), writes="b"
    )
    core = AttentionCore("core", heads, head_dim, head_dim, window=back, rows=rows, reads=reads)
    in_blocks = replace(core, causal=False, window=None, rows=queries, keys=Blocks(rows, size, seen))
    return Group(
        "self_attn",
        (
            _linear("q_proj.linear", width, width, rows, "sound", "q"),
            _linear("k_proj.linear", width, width, rows, "sound", "k"),
            _linear("v_proj.linear", width, width, rows, "sound", "v"),
            Vector("per_dim_scale", head_dim, bare=True, reads=("q",), writes="q"),
            Linear("relative_k_proj", width, width, rows=Once(distances, rows), reads=(), writes="r"),
            replace(relative, reference=replace(relative, rows=queries)),
            replace(core, reference=in_blocks),
            _linear("post.linear", width, width, rows, "o", "sound"),
        ),
    )
