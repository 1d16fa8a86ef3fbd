"""Conformers, encoders of sound whose layers have a convolution beside attention: Parakeet's."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

from flopwatch.model.architecture import Architecture, Component, Group
from flopwatch.model.batch import Batch, Counted, Span
from flopwatch.model.components import AttentionCore, Leaf, Linear, Norm, Vector
from flopwatch.model.families import blocks
from flopwatch.model.families.config import Fields
from flopwatch.model.families.encoders import needs_mapping
from flopwatch.model.media import Clips
from flopwatch.model.sounds import after


@dataclass(frozen=True)
class Around(Counted):
    """The distances from any position of a sound to any other one, to both sides."""

    positions: Clips

    def spans(self, batch: Batch) -> list[Span]:
        """Return one span per sound."""
        return [(2 * length - 1, count) for length, count in self.positions.spans(batch)]


def parakeet_ctc(fields: Fields) -> Architecture:
    """Parakeet with a head for CTC (Rekesh et al., arXiv 2305.05084): an eighth of the frames, Conformer layers.

    `source_len` of a batch is in mel frames.
    """
    encoder = needs_mapping(fields, "encoder_config")
    encoder.refuse_left_out("layerdrop", by_default=True)
    hidden = encoder.size("hidden_size", 1024)
    first, rows = _subsampled(encoder, hidden)
    layers = [("", _layer(encoder, hidden, rows))] * encoder.size("num_hidden_layers", 24)
    head = Linear("ctc_head", hidden, fields.size("vocab_size", 1025), True, None, rows, "head")
    return Architecture(
        fields.model_type,
        (*first, blocks.stack("encoder.layers", layers), head),
        inputs="sounds",
        causal=False,
    )


def _subsampled(encoder: Fields, hidden: int) -> tuple[tuple[Component, ...], Clips]:
    """Convolutions over time and pitch, all but the first one by channel and then across channels; one matrix."""
    kernel, stride = encoder.size("subsampling_conv_kernel_size", 3), encoder.size("subsampling_conv_stride", 2)
    channels, mels = encoder.size("subsampling_conv_channels", 256), encoder.size("num_mel_bins", 80)
    factor, path = encoder.size("subsampling_factor", 8), "encoder.subsampling"
    step, times = (kernel, stride, (kernel - 1) // 2), int(log2(factor))
    if factor < 2 or after(mels, (step,) * times) != mels // stride**times:
        raise encoder.unusable(
            "num_mel_bins", f"a multiple of {stride**times}, and a subsampling_factor of at least 2,"
        )
    rows = [Clips((step,) * done, across=after(mels, (step,) * done)) for done in range(1, times + 1)]
    parts: list[Component] = [
        Linear(f"{path}.layers.0", kernel**2, channels, True, None, rows[0], reads=("frames",)),
    ]
    for number, each in enumerate(rows[1:]):
        parts += [
            Linear(f"{path}.layers.{3 * number + 2}", kernel**2, channels, True, None, each),
            Linear(f"{path}.layers.{3 * number + 3}", channels, channels, True, None, each),
        ]
    positions = Clips((step,) * times)
    wide = channels * (mels // stride**times)
    return (*parts, Linear(f"{path}.linear", wide, hidden, True, None, positions)), positions


def _layer(encoder: Fields, hidden: int, rows: Clips) -> tuple[Component, ...]:
    """Half an MLP, attention, a convolution, half an MLP."""
    inner, bias = encoder.size("intermediate_size", 4096), encoder.flag("attention_bias", True)

    def mlp(number: int) -> tuple[Component, ...]:
        names = ("linear1", "linear2")
        part = blocks.plain_mlp(hidden, inner, name=f"feed_forward{number}", names=names, bias=bias, rows=rows)
        return Norm(f"norm_feed_forward{number}", hidden, bias=True), part

    return (
        *mlp(1),
        Norm("norm_self_att", hidden, bias=True),
        _attention(encoder, hidden, rows, bias=bias),
        Norm("norm_conv", hidden, bias=True),
        _mixing(encoder, hidden, rows),
        *mlp(2),
        Norm("norm_out", hidden, bias=True),
    )


def _mixing(encoder: Fields, hidden: int, rows: Clips) -> Group:
    kernel, bias = encoder.size("conv_kernel_size", 9), encoder.flag("convolution_bias", True)
    if kernel % 2 == 0:
        raise encoder.unusable("conv_kernel_size", "an odd number")
    return Group(
        "conv",
        (
            Linear("pointwise_conv1", hidden, 2 * hidden, bias, None, rows, writes="h"),
            Linear("depthwise_conv", kernel, hidden, bias, None, rows, reads=("h",), writes="h"),
            Norm("norm", hidden, bias=True, reads=("h",), writes="h"),
            Linear("pointwise_conv2", hidden, hidden, bias, None, rows, reads=("h",)),
        ),
    )


def _attention(encoder: Fields, hidden: int, rows: Clips, *, bias: bool) -> Group:
    """Attention whose scores add products of queries with distances (Dai et al., arXiv 1901.02860, section 3.3)."""
    heads = encoder.size("num_attention_heads", 8)
    head_dim = blocks.head_dim(encoder, hidden, heads)
    width, around = heads * head_dim, Around(rows)
    near: tuple[Leaf, ...] = (
        Linear("relative_k_proj", hidden, width, False, None, around, reads=("distances",), writes="r"),
        Vector("bias_u", width, bare=True, reads=("q",), writes="qu"),
        Vector("bias_v", width, bare=True, reads=("q",), writes="qv"),
        AttentionCore(
            "relative core", heads, head_dim, 0, False, rows=rows, keys=around, reads=("qv", "r", "r"), writes="s"
        ),
    )
    projections = (Linear(f"{name}_proj", hidden, width, bias, None, rows, writes=name) for name in ("q", "k", "v"))
    core = AttentionCore("core", heads, head_dim, head_dim, False, rows=rows, reads=("qu", "k", "v", "s"))
    return Group(
        "self_attn",
        (*projections, *near, core, Linear("o_proj", width, hidden, bias, None, rows, reads=("o",))),
    )
