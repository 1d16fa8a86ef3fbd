"""Vision: ViT and its kin, CLIP and SigLIP, Swin, ConvNeXt, ResNet, and DiT.

Papers of these models print multiply-adds and call them FLOPs; `--convention macs` prints theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

from flopwatch.model.architecture import Architecture, Component, Group
from flopwatch.model.batch import PER_SEQUENCE, Pixels, Rows
from flopwatch.model.components import AttentionCore, Embedding, Linear, Norm, Vector
from flopwatch.model.families import blocks
from flopwatch.model.families.config import Fields
from flopwatch.model.families.encoders import attention

SPLIT_QKVO = ("q_proj", "k_proj", "v_proj", "o_proj")
_CLIP_QKVO = ("q_proj", "k_proj", "v_proj", "out_proj")
_DEFAULT_LABELS = 2


def image_size(fields: Fields) -> tuple[int, int]:
    """Height and width of the images that the config is for."""
    sides = fields.sizes("image_size")
    if len(sides) > 2:
        raise fields.unusable("image_size", "one side or two")
    return sides[0], sides[-1]


def labels(fields: Fields) -> int:
    """Number of classes: of `id2label`, else `num_labels`, else Hugging Face's default of two."""
    named = fields.values.get("id2label")
    if named:
        return len(named)
    return fields.size("num_labels", _DEFAULT_LABELS)


def with_patch(fields: Fields, default: int) -> Fields:
    """The same fields with a `patch_size`, where the config has none."""
    if fields.values.get("patch_size") is not None:
        return fields
    return Fields(fields.model_type, {**fields.values, "patch_size": default})


def patches(fields: Fields, extra: int = 0) -> Pixels:
    """The grid of patches, of which a border that is no whole patch is dropped."""
    side = fields.size("patch_size", 16)
    return Pixels(image_size(fields), ((side, side, 0),), extra)


def projection(
    fields: Fields, name: str, hidden: int, patches: Pixels, *, bias: bool = True, stream: str = "x"
) -> Linear:
    """The convolution that turns patches into vectors; images have no gradient."""
    side, channels = fields.size("patch_size", 16), fields.size("num_channels", 3)
    rows = Pixels(patches.image_size, patches.steps)
    values = channels * side * side
    return Linear(name, values, hidden, bias, None, rows, "patches", reads=("pixels",), writes=stream, opened=True)


def positions(fields: Fields, extra: int) -> int:
    """Patches of an image of the config's size, and `extra` tokens."""
    height, width = image_size(fields)
    side = fields.size("patch_size", 16)
    return (height // side) * (width // side) + extra


def encoder(name: str, layers: int, layer: tuple[Component, ...]) -> Component:
    """Build a stack of equal layers."""
    return blocks.stack(name, [("", layer)] * layers)


def vit(fields: Fields) -> Architecture:
    """ViT (Dosovitskiy et al., arXiv 2010.11929) for classification on its class token."""
    return _vit(fields, "vit", ("cls_token",))


def deit(fields: Fields) -> Architecture:
    """DeiT (Touvron et al., arXiv 2012.12877): ViT with a distillation token; classification on the class token."""
    return _vit(fields, "deit", ("cls_token", "distillation_token"))


def _vit(fields: Fields, body: str, tokens: tuple[str, ...]) -> Architecture:
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    grid = patches(fields, len(tokens))
    qkv_bias = fields.flag("qkv_bias", True)
    layer = (
        *blocks.norms("layernorm_before", features=hidden, bias=True),
        attention(
            "attention",
            hidden,
            heads,
            blocks.split_heads(fields, hidden, heads),
            SPLIT_QKVO,
            bias=(qkv_bias, qkv_bias, qkv_bias, True),
            rows=grid,
        ),
        *blocks.norms("layernorm_after", features=hidden, bias=True),
        blocks.plain_mlp(hidden, fields.size("intermediate_size"), names=("fc1", "fc2"), rows=grid),
    )
    path = f"{body}.embeddings"
    return images(
        fields,
        (
            *(Vector(f"{path}.{token}", hidden, bare=True, reads=()) for token in tokens),
            Vector(f"{path}.position_embeddings", hidden * positions(fields, len(tokens)), bare=True, reads=()),
            projection(fields, f"{path}.patch_embeddings.projection", hidden, grid),
            encoder(f"{body}.layers", fields.size("num_hidden_layers"), layer),
            Norm(f"{body}.layernorm", hidden, bias=True),
            Linear("classifier", hidden, labels(fields), True, None, PER_SEQUENCE, "head"),
        ),
    )


def images(fields: Fields, parts: Sequence[Component]) -> Architecture:
    """Build an architecture that reads images."""
    return Architecture(fields.model_type, tuple(parts), inputs="images", causal=False)


def dinov2(fields: Fields) -> Architecture:
    """DINOv2 (Oquab et al., arXiv 2304.07193) with a linear classifier on class token and mean patch."""
    fields = with_patch(fields, 14)
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    grid, bias = patches(fields, 1), fields.flag("qkv_bias", True)
    inner = int(hidden * ratio(fields, "mlp_ratio", 4))
    if fields.flag("use_swiglu_ffn", False):
        inner = (int(inner * 2 / 3) + 7) // 8 * 8
        mlp = blocks.gated_mlp(hidden, inner, bias=True, rows=grid)
    else:
        mlp = blocks.plain_mlp(hidden, inner, names=("fc1", "fc2"), rows=grid)
    head_dim = blocks.split_heads(fields, hidden, heads)
    layer = _scaled_layer(hidden, heads, head_dim, grid, mlp, (bias, bias, bias, True))
    path = "dinov2.embeddings"
    mask = [Vector(f"{path}.mask_token", hidden, bare=True, reads=())] if fields.flag("use_mask_token", True) else []
    return images(
        fields,
        (
            Vector(f"{path}.cls_token", hidden, bare=True, reads=()),
            *mask,
            Vector(f"{path}.position_embeddings", hidden * positions(fields, 1), bare=True, reads=()),
            projection(fields, f"{path}.patch_embeddings.projection", hidden, grid),
            encoder("dinov2.encoder.layer", fields.size("num_hidden_layers"), layer),
            Norm("dinov2.layernorm", hidden, bias=True),
            Linear("classifier", 2 * hidden, labels(fields), True, None, PER_SEQUENCE, "head"),
        ),
    )


def ratio(fields: Fields, name: str, default: float) -> float:
    """Return a field that must be a positive number.

    Raises:
        ConfigError: If it is anything else.
    """
    value = fields.values.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1000:
        raise fields.unusable(name, "a positive number")
    return float(value)


def _scaled_layer(
    hidden: int, heads: int, head_dim: int, grid: Rows, mlp: Group, bias: tuple[bool, bool, bool, bool]
) -> tuple[Component, ...]:
    """DINO's layer: norms before, scales after each part."""
    return (
        *blocks.norms("norm1", features=hidden, bias=True),
        attention("attention", hidden, heads, head_dim, SPLIT_QKVO, bias=bias, rows=grid),
        Vector("layer_scale1.lambda1", hidden, bare=True),
        *blocks.norms("norm2", features=hidden, bias=True),
        mlp,
        Vector("layer_scale2.lambda1", hidden, bare=True),
    )


def dinov3_vit(fields: Fields) -> Architecture:
    """DINOv3's ViT (Siméoni et al., arXiv 2508.10104): the encoder alone, rotary positions, register tokens."""
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    registers = fields.values.get("num_register_tokens", 0)
    registers = fields.size("num_register_tokens") if registers else 0
    grid = patches(fields, 1 + registers)
    inner, bias = fields.size("intermediate_size"), fields.flag("mlp_bias", True)
    if fields.flag("use_gated_mlp", False):
        mlp = blocks.gated_mlp(hidden, inner, bias=bias, rows=grid)
    else:
        mlp = blocks.plain_mlp(hidden, inner, bias=bias, rows=grid)
    query, key, value, output = (
        fields.flag(name, default)
        for name, default in (("query_bias", True), ("key_bias", False), ("value_bias", True), ("proj_bias", True))
    )
    head_dim = blocks.split_heads(fields, hidden, heads)
    layer = _scaled_layer(hidden, heads, head_dim, grid, mlp, (query, key, value, output))
    tokens = [
        Vector("embeddings.cls_token", hidden, bare=True, reads=()),
        Vector("embeddings.mask_token", hidden, bare=True, reads=()),
        Vector("embeddings.register_tokens", hidden * registers, bare=True, reads=()),
    ]
    return images(
        fields,
        (
            *tokens,
            projection(fields, "embeddings.patch_embeddings", hidden, grid),
            encoder("model.layer", fields.size("num_hidden_layers"), layer),
            Norm("norm", hidden, bias=True),
        ),
    )


def convolution(
    name: str,
    channels: int,
    out: int,
    kernel: int,
    rows: Pixels,
    *,
    bias: bool = False,
    depthwise: bool = False,
    reads: str = "x",
    writes: str = "x",
) -> Linear:
    """A square convolution: kernel x kernel x input channels to every output, at every output position."""
    return Linear(
        name, kernel * kernel * (1 if depthwise else channels), out, bias, None, rows, reads=(reads,), writes=writes
    )


def dit(fields: Fields) -> Architecture:
    """DiT (Peebles and Xie, arXiv 2212.09748), in the names of its authors' code.

    Every block has an MLP that modulates it, which runs once per image, not per token.
    """
    hidden, heads, layers = fields.size("hidden_size"), fields.size("num_heads"), fields.size("depth")
    side, channels, widening = fields.size("patch_size"), fields.size("in_channels", 4), ratio(fields, "mlp_ratio", 4.0)
    out = channels * (2 if fields.flag("learn_sigma", True) else 1)
    grid = Pixels((fields.size("input_size", 32),) * 2, ((side, side, 0),))
    frequencies, classes = 256, fields.size("num_classes", 1000)
    head_dim = blocks.split_heads(fields, hidden, heads)
    layer = (
        Linear("adaLN_modulation.1", hidden, 6 * hidden, True, None, PER_SEQUENCE, reads=("c",), writes="m"),
        Vector("", 0, reads=("m",)),
        Group(
            "attn",
            (
                Linear("qkv", hidden, 3 * hidden, True, None, grid, writes="qkv"),
                AttentionCore("core", heads, head_dim, head_dim, causal=False, rows=grid, reads=("qkv", "qkv", "qkv")),
                Linear("proj", hidden, hidden, True, None, grid, reads=("o",)),
            ),
        ),
        blocks.plain_mlp(hidden, int(widening * hidden), names=("fc1", "fc2"), rows=grid),
    )
    return images(
        fields,
        (
            convolution("x_embedder.proj", channels, hidden, side, grid, bias=True, reads="pixels"),
            Linear("t_embedder.mlp.0", frequencies, hidden, True, None, PER_SEQUENCE, reads=("t",), writes="c"),
            Linear("t_embedder.mlp.2", hidden, hidden, True, None, PER_SEQUENCE, reads=("c",), writes="c"),
            Embedding("y_embedder.embedding_table", classes + 1, hidden, reads=(), writes="c"),
            encoder("blocks", layers, layer),
            Linear("final_layer.adaLN_modulation.1", hidden, 2 * hidden, True, None, PER_SEQUENCE, reads=("c",)),
            Linear("final_layer.linear", hidden, side * side * out, True, None, grid, "head"),
        ),
    )
