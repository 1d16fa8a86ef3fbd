"""MobileNet-V5 in its size of 300 million parameters (Google 2025), as timm's `mobilenetv5_300m_enc` has it.

Its blocks are MobileNet-V4's (Qin et al., arXiv 2404.10518). Convolutions are padded so that a stride of two halves
sides, rounded up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from flopwatch.model.architecture import Component, Group
from flopwatch.model.batch import Pixels
from flopwatch.model.components import AttentionCore, Leaf, Linear, Norm, Vector
from flopwatch.model.families import blocks
from flopwatch.model.families.vision import convolution

OUT = 2048  # channels that it gives
SIDE = 768  # of the images that it is for
_HALVED = (1, 2, 0)
_STEM, _FIRST = 64, 128


@dataclass(frozen=True)
class Inverted:
    """Channels are widened between depthwise convolutions: one before, one inside, either of them may be absent."""

    widened: int
    before: int = 0
    inside: int = 0

    def parts(self, channels: int, out: int, rows: Pixels, halved: Pixels) -> tuple[Component, ...]:
        """Return the block's parts; the rows are halved by the convolution inside."""
        inner, after = channels * self.widened, halved if self.inside else rows
        return (
            *(_depthwise("dw_start", channels, self.before, rows) if self.before else ()),
            *_normed("pw_exp", channels, inner, rows),
            *(_depthwise("dw_mid", inner, self.inside, after) if self.inside else ()),
            *_normed("pw_proj", inner, out, after),
            Vector("layer_scale.gamma", out, bare=True, reads=("image",), writes="image"),
        )


@dataclass(frozen=True)
class Attending:
    """Many queries for one head of keys and values, which may be of every second row and column."""

    heads: int
    head_dim: int
    stride: int = 1

    def parts(self, channels: int, out: int, rows: Pixels, halved: Pixels) -> tuple[Component, ...]:
        """Return the block's parts, in so many channels all along."""
        width, keys = self.heads * self.head_dim, rows.after((1, self.stride, 0))
        core = AttentionCore("core", self.heads, self.head_dim, self.head_dim, causal=False, rows=rows, keys=keys)
        inside = (
            convolution("query.proj", channels, width, 1, rows, reads="image", writes="q"),
            *self._of_keys("key", "k", channels, keys),
            *self._of_keys("value", "v", channels, keys),
            core,
            convolution("output.proj", width, channels, 1, rows, reads="o", writes="image"),
        )
        return (
            _norm("norm", channels),
            Group("attn", inside),
            Vector("layer_scale.gamma", channels, bare=True, reads=("image",), writes="image"),
        )

    def _of_keys(self, name: str, writes: str, channels: int, rows: Pixels) -> tuple[Component, ...]:
        if self.stride == 1:
            return (convolution(f"{name}.proj", channels, self.head_dim, 1, rows, reads="image", writes=writes),)
        fewer = (
            convolution(f"{name}.down_conv", channels, channels, 3, rows, depthwise=True, reads="image", writes=writes),
            Norm(f"{name}.norm", channels, reads=(writes,), writes=writes),
        )
        return (*fewer, convolution(f"{name}.proj", channels, self.head_dim, 1, rows, reads=writes, writes=writes))


_Block = Inverted | Attending
_LOCAL: tuple[_Block, ...] = (Attending(12, 64, 2), Inverted(2))
_GLOBAL: tuple[_Block, ...] = (Attending(16, 96), Inverted(2))
# Channels of a stage, and its blocks, the first of which halves height and width.
_STAGES: tuple[tuple[int, tuple[_Block, ...]], ...] = (
    (256, (Inverted(6, 3, 5), Inverted(4, 5), Inverted(4, 3), Inverted(4, 5), Inverted(4, 3))),
    (640, (Inverted(6, 5, 5), *(Inverted(4, 5),) * 7, Inverted(1), *_LOCAL * 14)),
    (1280, (Inverted(6, 5, 5), *_GLOBAL * 19)),
)


def mobilenet_v5(path: str) -> tuple[Component, ...]:
    """Build the encoder: what its last two stages give is put side by side and averaged to 16 x 16 positions."""
    rows = Pixels((SIDE, SIDE), (_HALVED,))
    stem = (
        convolution(f"{path}.conv_stem.conv", 3, _STEM, 3, rows, bias=True, reads="pixels", writes="image"),
        _norm(f"{path}.conv_stem.bn", _STEM),
    )
    rows = rows.after(_HALVED)
    parts: list[Component] = [*stem, _first_stage(path, rows)]
    channels, fine = _FIRST, rows
    for number, (out, kinds) in enumerate(_STAGES, start=1):
        halved = rows.after(_HALVED)
        first, *others = kinds
        each = [(f"first of {out}", first.parts(channels, out, rows, halved))]
        each += [(f"{kind}", kind.parts(out, out, halved, halved)) for kind in others]
        parts.append(replace(blocks.stack(f"{path}.blocks.{number}", each), checkpointed=False))
        if number == len(_STAGES) - 1:
            parts.append(Leaf("", reads=("image",), writes="fine"))
            fine = halved
        channels, rows = out, halved
    side_by_side = sum(out for out, _ in _STAGES[-2:])
    return (*parts, *_fused(f"{path}.msfa", side_by_side, fine))


def _fused(path: str, channels: int, rows: Pixels) -> tuple[Component, ...]:
    first = Linear(
        f"{path}.ffn.pw_exp.conv", channels, 2 * channels, rows=rows, reads=("image", "fine"), writes="image"
    )
    return (
        first,
        _norm(f"{path}.ffn.pw_exp.bn", 2 * channels),
        *_normed(f"{path}.ffn.pw_proj", 2 * channels, OUT, rows),
        _norm(f"{path}.norm", OUT),
    )


def _first_stage(path: str, rows: Pixels) -> Component:
    """Three blocks that widen by a whole convolution, the first of which halves height and width."""

    def block(channels: int) -> tuple[Component, ...]:
        return (
            convolution("conv_exp", channels, 4 * channels, 3, rows, reads="image", writes="image"),
            _norm("bn1", 4 * channels),
            convolution("conv_pwl", 4 * channels, _FIRST, 1, rows, reads="image", writes="image"),
            _norm("bn2", _FIRST),
        )

    layers = [("first", block(_STEM)), *[("", block(_FIRST))] * 2]
    return replace(blocks.stack(f"{path}.blocks.0", layers), checkpointed=False)


def _norm(name: str, features: int) -> Norm:
    return Norm(name, features, reads=("image",), writes="image")


def _normed(name: str, channels: int, out: int, rows: Pixels) -> tuple[Component, ...]:
    layer = convolution(f"{name}.conv", channels, out, 1, rows, reads="image", writes="image")
    return (layer, _norm(f"{name}.bn", out))


def _depthwise(name: str, channels: int, kernel: int, rows: Pixels) -> tuple[Component, ...]:
    layer = convolution(f"{name}.conv", channels, channels, kernel, rows, depthwise=True, reads="image", writes="image")
    return (layer, _norm(f"{name}.bn", channels))
