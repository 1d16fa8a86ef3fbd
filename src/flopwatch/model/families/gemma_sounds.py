"""How Gemmas hear: a Conformer (Gulati et al., arXiv 2005.08100) whose attention looks back a little."""

from __future__ import annotations

from dataclasses import replace

from flopwatch.model.architecture import Component, Group
from flopwatch.model.batch import Rows
from flopwatch.model.components import AttentionCore, Linear, Norm, Vector
from flopwatch.model.families import blocks
from flopwatch.model.families.config import Fields
from flopwatch.model.families.gemma3n import WHOLE, Blend
from flopwatch.model.media import Clips
from flopwatch.model.row_blocks import Bands, Blocks, Once

_TOWER = "model.audio_tower"
_FIRST = f"{_TOWER}.subsample_conv_projection"


def norm(name: str, features: int, stream: str = "sound") -> Norm:
    """Build a norm of a stream."""
    return Norm(name, features, reads=(stream,), writes=stream)


def linear(
    name: str, width: int, out: int, rows: Rows, reads: str = "sound", writes: str | None = None, *, bias: bool = False
) -> Linear:
    """Build a layer of a stream, or from it to another one."""
    return Linear(name, width, out, bias, None, rows, reads=(reads,), writes=writes or reads)


def gemma4_sounds(audio: Fields, hidden: int) -> tuple[Component, ...]:
    """Gemma 4's encoder of sounds, on a quarter of the frames, and its projector."""
    width, out = audio.size("hidden_size", 1024), audio.size("output_proj_dims", 1536)
    channels = audio.values.get("subsampling_conv_channels") or (128, 32)
    first, second = _two(audio, "subsampling_conv_channels", channels)
    halved = Clips(((3, 2, 1),))
    rows = halved.after((3, 2, 1))
    layers = blocks.stack(
        f"{_TOWER}.layers", [("", _gemma4_layer(audio, width, rows))] * audio.size("num_hidden_layers", 12)
    )
    return (
        # As many bands as the first convolution has channels, which its class takes for granted.
        linear(f"{_FIRST}.layer0.conv", 9, first, Bands(halved, first // 2), "frames", "sound"),
        norm(f"{_FIRST}.layer0.norm", first),
        linear(f"{_FIRST}.layer1.conv", 9 * first, second, Bands(rows, first // 4)),
        norm(f"{_FIRST}.layer1.norm", second),
        linear(f"{_FIRST}.input_proj_linear", first // 4 * second, width, rows),
        replace(layers, checkpointed=False),
        linear(f"{_TOWER}.output_proj", width, out, rows, bias=True),
        linear("model.embed_audio.embedding_projection", out, hidden, rows, "sound", "x"),
    )


def _two(audio: Fields, name: str, values: object) -> tuple[int, int]:
    if not isinstance(values, (list, tuple)) or len(values) != 2 or any(not isinstance(each, int) for each in values):
        raise audio.unusable(name, "a list of two numbers")
    return values[0], values[1]


def _gemma4_layer(audio: Fields, width: int, rows: Clips) -> tuple[Component, ...]:
    audio.refuse("attention_context_right", "sounds look ahead")
    size, back = audio.size("attention_chunk_size", 12), audio.size("attention_context_left", 13) - 1
    heads, wrapped = audio.size("num_attention_heads", 8), ".linear"
    products = _local_attention(
        audio, width, heads, rows, (size, back, back), (size + back) // 2 + 1, "relative_k_proj"
    )
    return (
        _feed_forward("feed_forward1", width, rows, wrapped),
        norm("norm_pre_attn", width),
        Group(
            "self_attn", (*_queries_keys_values(width, rows, wrapped), *products, _output("post.linear", width, rows))
        ),
        norm("norm_post_attn", width),
        _light_convolution(width, audio.size("conv_kernel_size", 5), rows, wrapped),
        _feed_forward("feed_forward2", width, rows, wrapped),
        norm("norm_out", width),
    )


def gemma3n_sounds(audio: Fields) -> tuple[tuple[Component, ...], Clips]:
    """Gemma 3n's encoder of sounds, and the positions that it hands on, one of 16 frames."""
    width, bands = audio.size("hidden_size", 1536), audio.size("input_feat_size", 128)
    channels = _two(audio, "sscp_conv_channel_size", audio.values.get("sscp_conv_channel_size") or (128, 32))
    kernels, strides = (_pairs(audio, f"sscp_conv_{name}_size", each) for name, each in (("kernel", 3), ("stride", 2)))
    rows, before = Clips(), 1
    parts: list[Component] = []
    for number, (out, (tall, wide), (down, across)) in enumerate(zip(channels, kernels, strides, strict=True)):
        rows, bands = rows.after((1, down, 0)), (bands + 2 - wide) // across + 1
        reads = "sound" if number else "frames"
        parts += [
            linear(f"{_FIRST}.conv_{number}.conv", tall * wide * before, out, Bands(rows, bands), reads, "sound"),
            norm(f"{_FIRST}.conv_{number}.norm", out),
        ]
        before = out
    layers = [("", _gemma3n_layer(audio, width, rows))] * audio.size("conf_num_hidden_layers", 12)
    tower = (
        *parts,
        linear(f"{_FIRST}.input_proj_linear", bands * before, width, rows),
        replace(blocks.stack(f"{_TOWER}.conformer", layers), checkpointed=False),
    )
    return tower, rows.after((1, audio.size("conf_reduction_factor", 4), 0))


def _pairs(audio: Fields, name: str, default: int) -> list[tuple[int, int]]:
    """Two sizes, over time and over bands, for each of two convolutions."""
    pairs = audio.values.get(name) or [[default] * 2] * 2
    if not isinstance(pairs, (list, tuple)) or len(pairs) != 2:
        raise audio.unusable(name, "two pairs of numbers")
    return [_two(audio, name, each) for each in pairs]


def _gemma3n_layer(audio: Fields, width: int, rows: Clips) -> tuple[Component, ...]:
    audio.refuse("conf_attention_context_right", "sounds look ahead")
    size, back = audio.size("conf_attention_chunk_size", 12), audio.size("conf_attention_context_left", 13) - 1
    heads, distances = audio.size("conf_num_attention_heads", 8), "relative_position_embedding.pos_proj"
    products = _local_attention(audio, width, heads, rows, (size, back, back + 1), back + 1, distances)
    inside = Group("attn", (*_queries_keys_values(width, rows, ""), *products))
    attention = (norm("pre_attn_norm", width), inside, _output("post", width, rows), norm("post_norm", width))
    return (
        _feed_forward("ffw_layer_start", width, rows, ""),
        Group("attention", attention),
        _light_convolution(width, audio.size("conf_conv_kernel_size", 5), rows, ""),
        _feed_forward("ffw_layer_end", width, rows, ""),
        norm("norm", width),
    )


def _feed_forward(name: str, width: int, rows: Rows, suffix: str) -> Group:
    return Group(
        name,
        (
            norm("pre_layer_norm", width),
            linear(f"ffw_layer_1{suffix}", width, 4 * width, rows),
            linear(f"ffw_layer_2{suffix}", 4 * width, width, rows),
            norm("post_layer_norm", width),
        ),
    )


def _light_convolution(width: int, kernel: int, rows: Rows, suffix: str) -> Group:
    return Group(
        "lconv1d",
        (
            norm("pre_layer_norm", width),
            linear(f"linear_start{suffix}", width, 2 * width, rows),
            linear("depthwise_conv1d", kernel, width, rows),
            norm("conv_norm", width),
            linear(f"linear_end{suffix}", width, width, rows),
        ),
    )


def _queries_keys_values(width: int, rows: Rows, suffix: str) -> tuple[Component, ...]:
    return tuple(linear(f"{each}_proj{suffix}", width, width, rows, "sound", each) for each in "qkv")


def _output(name: str, width: int, rows: Rows) -> Linear:
    return linear(name, width, width, rows, "o", "sound")


def _local_attention(
    audio: Fields, width: int, heads: int, rows: Clips, sizes: tuple[int, int, int], distances: int, name: str
) -> tuple[Component, ...]:
    """Attention to a few positions before, with a product for how far back they are (arXiv 1901.02860).

    Hugging Face's code takes queries in blocks, and for each of them as many keys as any of the block may see.

    Args:
        audio: The config.
        width: Of all heads together.
        heads: How many.
        rows: The positions.
        sizes: Queries in a block, keys of a block before its first query, and keys that a query sees.
        distances: How many distances have a key of their own.
        name: The layer that gives it.
    """
    size, back, window = sizes
    head_dim, queries = blocks.split_heads(audio, width, heads), Blocks(rows, size)
    relative = Blend(
        "relative", 2 * width * distances, chunk=WHOLE, padded=False, rows=rows, reads=("q", "r"), writes="b"
    )
    core = AttentionCore("core", heads, head_dim, head_dim, window=window, rows=rows, reads=("q", "k", "v", "b"))
    in_blocks = replace(core, causal=False, window=None, rows=queries, keys=Blocks(rows, size, size + back))
    return (
        Vector("per_dim_scale", head_dim, bare=True, reads=("q",), writes="q"),
        Linear(name, width, width, rows=Once(distances, rows), reads=(), writes="r"),
        replace(relative, reference=replace(relative, rows=queries)),
        replace(core, reference=in_blocks),
    )
