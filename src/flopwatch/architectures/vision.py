"""Vision: ViT and its kin, CLIP and SigLIP, Swin, ConvNeXt, ResNet, and DiT.

Papers of these models print multiply-adds and call them FLOPs; `--convention macs` prints theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

from flopwatch.architectures import blocks
from flopwatch.architectures.config import Fields
from flopwatch.architectures.encoders import attention, needs_mapping
from flopwatch.batch import PER_SEQUENCE, TOKENS, Pixels, Rows
from flopwatch.components import (
    Architecture,
    AttentionCore,
    Component,
    Contrast,
    Embedding,
    Group,
    Linear,
    Norm,
    Vector,
)

_SPLIT_QKVO = ("q_proj", "k_proj", "v_proj", "o_proj")
_CLIP_QKVO = ("q_proj", "k_proj", "v_proj", "out_proj")
_DEFAULT_LABELS = 2


def _image_size(fields: Fields) -> tuple[int, int]:
    sides = fields.sizes("image_size")
    if len(sides) > 2:
        raise fields.unusable("image_size", "one side or two")
    return sides[0], sides[-1]


def _labels(fields: Fields) -> int:
    """Number of classes: of `id2label`, else `num_labels`, else Hugging Face's default of two."""
    named = fields.values.get("id2label")
    if named:
        return len(named)
    return fields.size("num_labels", _DEFAULT_LABELS)


def _patches(fields: Fields, extra: int = 0) -> Pixels:
    """The grid of patches, of which a border that is no whole patch is dropped."""
    side = fields.size("patch_size", 16)
    return Pixels(_image_size(fields), ((side, side, 0),), extra)


def _projection(
    fields: Fields, name: str, hidden: int, patches: Pixels, *, bias: bool = True, stream: str = "x"
) -> Linear:
    """The convolution that turns patches into vectors; images have no gradient."""
    side, channels = fields.size("patch_size", 16), fields.size("num_channels", 3)
    rows = Pixels(patches.image_size, patches.steps)
    return Linear(name, channels * side * side, hidden, bias, None, rows, "patches", reads=("pixels",), writes=stream)


def _positions(fields: Fields, extra: int) -> int:
    height, width = _image_size(fields)
    side = fields.size("patch_size", 16)
    return (height // side) * (width // side) + extra


def _encoder(
    name: str,
    layers: int,
    layer: tuple[Component, ...],
) -> Component:
    return blocks.stack(name, [("", layer)] * layers)


def vit(fields: Fields) -> Architecture:
    """ViT (Dosovitskiy et al., arXiv 2010.11929) for classification on its class token."""
    return _vit(fields, "vit", ("cls_token",))


def deit(fields: Fields) -> Architecture:
    """DeiT (Touvron et al., arXiv 2012.12877): ViT with a distillation token; classification on the class token."""
    return _vit(fields, "deit", ("cls_token", "distillation_token"))


def _vit(fields: Fields, body: str, tokens: tuple[str, ...]) -> Architecture:
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    grid = _patches(fields, len(tokens))
    qkv_bias = fields.flag("qkv_bias", True)
    layer = (
        *blocks.norms("layernorm_before", features=hidden, bias=True),
        attention(
            "attention",
            hidden,
            heads,
            blocks.split_heads(fields, hidden, heads),
            _SPLIT_QKVO,
            bias=(qkv_bias, qkv_bias, qkv_bias, True),
            rows=grid,
        ),
        *blocks.norms("layernorm_after", features=hidden, bias=True),
        blocks.plain_mlp(hidden, fields.size("intermediate_size"), names=("fc1", "fc2"), rows=grid),
    )
    path = f"{body}.embeddings"
    return _images(
        fields,
        (
            *(Vector(f"{path}.{token}", hidden, bare=True, reads=()) for token in tokens),
            Vector(f"{path}.position_embeddings", hidden * _positions(fields, len(tokens)), bare=True, reads=()),
            _projection(fields, f"{path}.patch_embeddings.projection", hidden, grid),
            _encoder(f"{body}.layers", fields.size("num_hidden_layers"), layer),
            Norm(f"{body}.layernorm", hidden, bias=True),
            Linear("classifier", hidden, _labels(fields), True, None, PER_SEQUENCE, "head"),
        ),
    )


def _images(fields: Fields, parts: Sequence[Component]) -> Architecture:
    return Architecture(fields.model_type, tuple(parts), inputs="images", causal=False)


def dinov2(fields: Fields) -> Architecture:
    """DINOv2 (Oquab et al., arXiv 2304.07193) with a linear classifier on class token and mean patch."""
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    grid, bias = _patches(fields, 1), fields.flag("qkv_bias", True)
    inner = int(hidden * _ratio(fields, "mlp_ratio", 4))
    if fields.flag("use_swiglu_ffn", False):
        inner = (int(inner * 2 / 3) + 7) // 8 * 8
        mlp = blocks.gated_mlp(hidden, inner, bias=True, rows=grid)
    else:
        mlp = blocks.plain_mlp(hidden, inner, names=("fc1", "fc2"), rows=grid)
    head_dim = blocks.split_heads(fields, hidden, heads)
    layer = _scaled_layer(hidden, heads, head_dim, grid, mlp, (bias, bias, bias, True))
    path = "dinov2.embeddings"
    mask = [Vector(f"{path}.mask_token", hidden, bare=True, reads=())] if fields.flag("use_mask_token", True) else []
    return _images(
        fields,
        (
            Vector(f"{path}.cls_token", hidden, bare=True, reads=()),
            *mask,
            Vector(f"{path}.position_embeddings", hidden * _positions(fields, 1), bare=True, reads=()),
            _projection(fields, f"{path}.patch_embeddings.projection", hidden, grid),
            _encoder("dinov2.encoder.layer", fields.size("num_hidden_layers"), layer),
            Norm("dinov2.layernorm", hidden, bias=True),
            Linear("classifier", 2 * hidden, _labels(fields), True, None, PER_SEQUENCE, "head"),
        ),
    )


def _ratio(fields: Fields, name: str, default: float) -> float:
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
        attention("attention", hidden, heads, head_dim, _SPLIT_QKVO, bias=bias, rows=grid),
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
    grid = _patches(fields, 1 + registers)
    inner, bias = fields.size("intermediate_size"), fields.flag("mlp_bias", True)
    if fields.flag("use_gated_mlp", False):
        mlp = blocks.gated_mlp(hidden, inner, bias=bias, rows=grid)
    else:
        mlp = blocks.plain_mlp(hidden, inner, bias=bias, rows=grid)
    query, key, value, projection = (
        fields.flag(name, default)
        for name, default in (("query_bias", True), ("key_bias", False), ("value_bias", True), ("proj_bias", True))
    )
    head_dim = blocks.split_heads(fields, hidden, heads)
    layer = _scaled_layer(hidden, heads, head_dim, grid, mlp, (query, key, value, projection))
    tokens = [
        Vector("embeddings.cls_token", hidden, bare=True, reads=()),
        Vector("embeddings.mask_token", hidden, bare=True, reads=()),
        Vector("embeddings.register_tokens", hidden * registers, bare=True, reads=()),
    ]
    return _images(
        fields,
        (
            *tokens,
            _projection(fields, "embeddings.patch_embeddings", hidden, grid),
            _encoder("model.layer", fields.size("num_hidden_layers"), layer),
            Norm("norm", hidden, bias=True),
        ),
    )


def clip(fields: Fields) -> Architecture:
    """CLIP (Radford et al., arXiv 2103.00020): a causal text and an image encoder, compared over the whole batch."""
    text, vision = needs_mapping(fields, "text_config"), needs_mapping(fields, "vision_config")
    width = fields.size("projection_dim", 512)
    hidden, seen = text.size("hidden_size", 512), vision.size("hidden_size", 768)
    grid = _patches(_with_patch(vision, 32), 1)
    path = "vision_model.embeddings"
    return Architecture(
        fields.model_type,
        (
            Vector("logit_scale", 1, bare=True, reads=(), writes="logits"),
            *_text_tower(text, hidden, causal=True, positions=77),
            Norm("text_model.final_layer_norm", hidden, bias=True),
            Vector(f"{path}.class_embedding", seen, bare=True, reads=(), writes="v"),
            _projection(_with_patch(vision, 32), f"{path}.patch_embedding", seen, grid, bias=False, stream="v"),
            _position_table(_with_patch(vision, 32), path, seen, 1),
            _stream_norm("vision_model.pre_layrnorm", seen),
            _tower(vision, "vision_model", seen, grid, "v"),
            _stream_norm("vision_model.post_layernorm", seen),
            Linear("visual_projection", seen, width, False, None, PER_SEQUENCE, "head", reads=("v",), writes="v"),
            Linear("text_projection", hidden, width, False, None, PER_SEQUENCE, "head"),
            Contrast("logits", width, reads=("x", "v"), writes="logits"),
        ),
        max_seq_len=text.size("max_position_embeddings", 77),
        inputs="images and tokens",
        causal=False,
        sequences_interact=True,
    )


def _with_patch(fields: Fields, default: int) -> Fields:
    if fields.values.get("patch_size") is not None:
        return fields
    return Fields(fields.model_type, {**fields.values, "patch_size": default})


def _position_table(fields: Fields, path: str, hidden: int, extra: int) -> Embedding:
    return Embedding(f"{path}.position_embedding", _positions(fields, extra), hidden, reads=(), writes="v")


def _stream_norm(name: str, features: int) -> Norm:
    return Norm(name, features, bias=True, reads=("v",), writes="v")


def _text_tower(fields: Fields, hidden: int, *, causal: bool, positions: int) -> tuple[Component, ...]:
    path = "text_model.embeddings"
    rows = fields.size("max_position_embeddings", positions)
    return (
        Embedding(f"{path}.token_embedding", fields.size("vocab_size"), hidden, words=True, reads=()),
        Embedding(f"{path}.position_embedding", rows, hidden, reads=()),
        _tower(fields, "text_model", hidden, TOKENS, "x", causal=causal),
    )


def _tower(fields: Fields, name: str, hidden: int, rows: Rows, stream: str, *, causal: bool = False) -> Component:
    heads, inner = fields.size("num_attention_heads"), fields.size("intermediate_size")
    layer = (
        Norm("layer_norm1", hidden, bias=True, reads=(stream,), writes=stream),
        attention(
            "self_attn",
            hidden,
            heads,
            blocks.split_heads(fields, hidden, heads),
            _CLIP_QKVO,
            rows=rows,
            stream=stream,
            causal=causal,
        ),
        Norm("layer_norm2", hidden, bias=True, reads=(stream,), writes=stream),
        blocks.plain_mlp(hidden, inner, names=("fc1", "fc2"), rows=rows, stream=stream),
    )
    return _encoder(f"{name}.encoder.layers", fields.size("num_hidden_layers"), layer)


def siglip(fields: Fields) -> Architecture:
    """SigLIP (Zhai et al., arXiv 2303.15343): text in both directions, image tokens pooled by attention."""
    text, vision = needs_mapping(fields, "text_config"), needs_mapping(fields, "vision_config")
    hidden, seen = text.size("hidden_size", 768), vision.size("hidden_size", 768)
    width = text.size("projection_size", hidden)
    grid = _patches(vision)
    path = "vision_model.embeddings"
    if not vision.flag("vision_use_head", True):
        raise vision.unusable("vision_use_head", "true")
    return Architecture(
        fields.model_type,
        (
            Vector("logit_scale", 1, bare=True, reads=(), writes="logits"),
            Vector("logit_bias", 1, bare=True, reads=(), writes="logits"),
            *_text_tower(text, hidden, causal=False, positions=64),
            Norm("text_model.final_layer_norm", hidden, bias=True),
            Linear("text_model.head", hidden, width, True, None, PER_SEQUENCE, "head"),
            _projection(vision, f"{path}.patch_embedding", seen, grid, stream="v"),
            _position_table(vision, path, seen, 0),
            _tower(vision, "vision_model", seen, grid, "v"),
            _stream_norm("vision_model.post_layernorm", seen),
            Group("vision_model.head", _pooling(vision, seen, grid)),
            Contrast("logits", width, reads=("x", "v"), writes="logits"),
        ),
        max_seq_len=text.size("max_position_embeddings", 64),
        inputs="images and tokens",
        causal=False,
        sequences_interact=True,
    )


def _pooling(fields: Fields, hidden: int, grid: Rows) -> tuple[Component, ...]:
    """One learned query per image attends to its tokens; then an MLP on the result."""
    heads = fields.size("num_attention_heads")
    head_dim = blocks.split_heads(fields, hidden, heads)
    query = Linear(
        "in_proj_weight", hidden, hidden, False, "in_proj", PER_SEQUENCE, reads=("probe",), writes="q", bare=True
    )
    keys = Linear("in_proj_weight", hidden, 2 * hidden, False, "in_proj", grid, reads=("v",), writes="kv", bare=True)
    core = AttentionCore(
        "core", heads, head_dim, head_dim, causal=False, rows=PER_SEQUENCE, keys=grid, reads=("q", "kv", "kv")
    )
    inside = (
        Vector("in_proj_weight", 3 * hidden * hidden, bare=True, reads=(), writes="in_proj"),
        Vector("in_proj_bias", 3 * hidden, bare=True, reads=(), writes="in_proj"),
        query,
        keys,
        core,
        Linear("out_proj", hidden, hidden, True, None, PER_SEQUENCE, reads=("o",), writes="v"),
    )
    return (
        Vector("probe", hidden, bare=True, reads=(), writes="probe"),
        Group("attention", inside),
        Norm("layernorm", hidden, bias=True, reads=("v",), writes="v"),
        blocks.plain_mlp(hidden, fields.size("intermediate_size"), names=("fc1", "fc2"), rows=PER_SEQUENCE, stream="v"),
    )


def swin(fields: Fields) -> Architecture:
    """Swin (Liu et al., arXiv 2103.14030): attention in windows, tokens merged two by two between stages.

    Feature maps are padded to whole windows for attention, and to even sides for merging, as the models do.
    """
    width, depths, heads = fields.size("embed_dim"), fields.sizes("depths"), fields.sizes("num_heads")
    if len(depths) != len(heads):
        raise fields.unusable("num_heads", f"{len(depths)} numbers, one per stage,")
    fields.refuse("use_absolute_embeddings", "it has position embeddings")
    window, ratio, bias = fields.size("window_size"), _ratio(fields, "mlp_ratio", 4.0), fields.flag("qkv_bias", True)
    side, channels = fields.size("patch_size", 4), fields.size("num_channels", 3)
    grid = Pixels(_image_size(fields), ((1, side, 0),))
    stages: list[Component] = []
    for stage, (depth, count) in enumerate(zip(depths, heads, strict=True)):
        path, features = f"swin.encoder.layers.{stage}", width * 2**stage
        windows = Pixels(grid.image_size, grid.steps, window=window)
        head_dim = blocks.split_heads(fields, features, count)
        inside = attention("", features, count, head_dim, _SPLIT_QKVO, bias=(bias, bias, bias, True), rows=windows)
        table = Vector(
            "relative_position_bias.relative_position_bias_table",
            (2 * window - 1) ** 2 * count,
            bare=True,
            reads=(),
            writes="q",
        )
        layer = (
            *blocks.norms("layernorm_before", features=features, bias=True),
            Group("attention", (table, *inside.children)),
            *blocks.norms("layernorm_after", features=features, bias=True),
            blocks.plain_mlp(features, int(ratio * features), names=("fc1", "fc2"), rows=grid),
        )
        stages.append(_encoder(f"{path}.blocks", depth, layer))
        if stage < len(depths) - 1:
            grid = grid.after((1, 2, 0))
            stages += [
                Norm(f"{path}.downsample.norm", 4 * features, bias=True),
                Linear(f"{path}.downsample.reduction", 4 * features, 2 * features, rows=grid),
            ]
    last = width * 2 ** (len(depths) - 1)
    first = Linear(
        "swin.embeddings.patch_embeddings.projection",
        channels * side * side,
        width,
        True,
        None,
        Pixels(grid.image_size, ((1, side, 0),)),
        "patches",
        reads=("pixels",),
    )
    return _images(
        fields,
        (
            first,
            Norm("swin.embeddings.norm", width, bias=True),
            *stages,
            Norm("swin.layernorm", last, bias=True),
            Linear("classifier", last, _labels(fields), True, None, PER_SEQUENCE, "head"),
        ),
    )


def _convolution(
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


def convnext(fields: Fields) -> Architecture:
    """ConvNeXt (Liu et al., arXiv 2201.03545): depthwise 7 x 7, then an inverted bottleneck."""
    widths, depths = fields.sizes("hidden_sizes"), fields.sizes("depths")
    if len(widths) != len(depths):
        raise fields.unusable("depths", f"{len(widths)} numbers, one per stage,")
    side, channels = fields.size("patch_size", 4), fields.size("num_channels", 3)
    scale = fields.values.get("layer_scale_init_value", 1e-6)
    grid = Pixels(_size_or(fields, 224), ((side, side, 0),))
    path = "convnext.embeddings"
    parts: list[Component] = [
        _convolution(f"{path}.patch_embeddings", channels, widths[0], side, grid, bias=True, reads="pixels"),
        Norm(f"{path}.layernorm", widths[0], bias=True),
    ]
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        path = f"convnext.encoder.stages.{stage}"
        if stage:
            grid = grid.after((2, 2, 0))
            parts += [
                Norm(f"{path}.downsampling_layer.0", widths[stage - 1], bias=True),
                _convolution(f"{path}.downsampling_layer.1", widths[stage - 1], width, 2, grid, bias=True),
            ]
        layer = (
            _convolution("dwconv", width, width, 7, grid, bias=True, depthwise=True),
            Norm("layernorm", width, bias=True),
            Linear("pwconv1", width, 4 * width, True, None, grid),
            Linear("pwconv2", 4 * width, width, True, None, grid),
            *([Vector("layer_scale_parameter", width, bare=True)] if scale else []),
        )
        parts.append(_encoder(f"{path}.layers", depth, layer))
    parts += [
        Norm("convnext.layernorm", widths[-1], bias=True),
        Linear("classifier", widths[-1], _labels(fields), True, None, PER_SEQUENCE, "head"),
    ]
    return _images(fields, parts)


def _size_or(fields: Fields, default: int) -> tuple[int, int]:
    return (default, default) if fields.values.get("image_size") is None else _image_size(fields)


def resnet(fields: Fields) -> Architecture:
    """ResNet (He et al., arXiv 1512.03385), basic or bottleneck; its config has no image size: 224 x 224 by default."""
    widths, depths = fields.sizes("hidden_sizes"), fields.sizes("depths")
    if len(widths) != len(depths):
        raise fields.unusable("depths", f"{len(widths)} numbers, one per stage,")
    kind = fields.values.get("layer_type", "bottleneck")
    if kind not in ("bottleneck", "basic"):
        raise fields.unusable("layer_type", "'bottleneck' or 'basic'")
    early = fields.flag("downsample_in_bottleneck", False)
    width, channels = fields.size("embedding_size"), fields.size("num_channels", 3)
    grid = Pixels(_size_or(fields, 224), ((7, 2, 3),))
    parts: list[Component] = [
        *_normed("resnet.embedder.embedder", _convolution("convolution", channels, width, 7, grid, reads="pixels"))
    ]
    grid = grid.after((3, 2, 1))
    first_stride = 2 if fields.flag("downsample_in_first_stage", False) else 1
    for stage, (out, depth) in enumerate(zip(widths, depths, strict=True)):
        for index in range(depth):
            stride = 1 if index else (2 if stage else first_stride)
            path = f"resnet.encoder.stages.{stage}.layers.{index}"
            after = grid if stride == 1 else grid.after((3, 2, 1))
            parts.append(Group(path, _residual(width, out, grid, after, stride, kind == "basic", early)))
            width, grid = out, after
    parts.append(Linear("classifier.1", width, _labels(fields), True, None, PER_SEQUENCE, "head"))
    return _images(fields, parts)


def _normed(path: str, convolution: Linear, stream: str = "x") -> tuple[Component, ...]:
    norm = Norm("normalization", convolution.out_features, bias=True, reads=(stream,), writes=stream)
    return (Group(path, (convolution, norm)),)


def _residual(
    width: int, out: int, before: Pixels, after: Pixels, stride: int, basic: bool, early: bool
) -> tuple[Component, ...]:
    """The convolutions of one residual block, then its shortcut where the shape changes."""
    if basic:
        sizes = [(width, out, 3, after), (out, out, 3, after)]
    else:
        inner = out // 4
        sizes = [(width, inner, 1, after if early else before), (inner, inner, 3, after), (inner, out, 1, after)]
    parts: list[Component] = []
    for index, (channels, features, kernel, rows) in enumerate(sizes):
        reads = "x" if not index else "h"
        convolution = _convolution("convolution", channels, features, kernel, rows, reads=reads, writes="h")
        parts += _normed(f"layer.{index}", convolution, "h")
    if width != out or stride != 1:
        parts += _normed("shortcut", _convolution("convolution", width, out, 1, after))
    return (*parts, Vector("", 0, reads=("h",)))


def dit(fields: Fields) -> Architecture:
    """DiT (Peebles and Xie, arXiv 2212.09748), in the names of its authors' code.

    Every block has an MLP that modulates it, which runs once per image, not per token.
    """
    hidden, heads, layers = fields.size("hidden_size"), fields.size("num_heads"), fields.size("depth")
    side, channels, ratio = fields.size("patch_size"), fields.size("in_channels", 4), _ratio(fields, "mlp_ratio", 4.0)
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
        blocks.plain_mlp(hidden, int(ratio * hidden), names=("fc1", "fc2"), rows=grid),
    )
    return _images(
        fields,
        (
            _convolution("x_embedder.proj", channels, hidden, side, grid, bias=True, reads="pixels"),
            Linear("t_embedder.mlp.0", frequencies, hidden, True, None, PER_SEQUENCE, reads=("t",), writes="c"),
            Linear("t_embedder.mlp.2", hidden, hidden, True, None, PER_SEQUENCE, reads=("c",), writes="c"),
            Embedding("y_embedder.embedding_table", classes + 1, hidden, reads=(), writes="c"),
            _encoder("blocks", layers, layer),
            Linear("final_layer.adaLN_modulation.1", hidden, 2 * hidden, True, None, PER_SEQUENCE, reads=("c",)),
            Linear("final_layer.linear", hidden, side * side * out, True, None, grid, "head"),
        ),
    )
