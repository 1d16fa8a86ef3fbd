"""Feature maps that shrink: Swin, ConvNeXt, ResNet."""

from __future__ import annotations

from flopwatch.model.architecture import Architecture, Component, Group
from flopwatch.model.batch import PER_SEQUENCE, Pixels
from flopwatch.model.components import Linear, Norm, Vector
from flopwatch.model.families import blocks
from flopwatch.model.families.config import Fields
from flopwatch.model.families.encoders import attention
from flopwatch.model.families.vision import SPLIT_QKVO, convolution, encoder, image_size, images, labels, ratio


def swin(fields: Fields) -> Architecture:
    """Swin (Liu et al., arXiv 2103.14030): attention in windows, tokens merged two by two between stages.

    Feature maps are padded to whole windows for attention, and to even sides for merging, as the models do.
    """
    width, depths, heads = fields.size("embed_dim"), fields.sizes("depths"), fields.sizes("num_heads")
    if len(depths) != len(heads):
        raise fields.unusable("num_heads", f"{len(depths)} numbers, one per stage,")
    fields.refuse("use_absolute_embeddings", "it has position embeddings")
    window, widening, bias = fields.size("window_size"), ratio(fields, "mlp_ratio", 4.0), fields.flag("qkv_bias", True)
    side, channels = fields.size("patch_size", 4), fields.size("num_channels", 3)
    grid = Pixels(image_size(fields), ((1, side, 0),))
    stages: list[Component] = []
    for stage, (depth, count) in enumerate(zip(depths, heads, strict=True)):
        path, features = f"swin.encoder.layers.{stage}", width * 2**stage
        windows = Pixels(grid.image_size, grid.steps, window=window)
        head_dim = blocks.split_heads(fields, features, count)
        inside = attention("", features, count, head_dim, SPLIT_QKVO, bias=(bias, bias, bias, True), rows=windows)
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
            blocks.plain_mlp(features, int(widening * features), names=("fc1", "fc2"), rows=grid),
        )
        stages.append(encoder(f"{path}.blocks", depth, layer))
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
        opened=True,
    )
    return images(
        fields,
        (
            first,
            Norm("swin.embeddings.norm", width, bias=True),
            *stages,
            Norm("swin.layernorm", last, bias=True),
            Linear("classifier", last, labels(fields), True, None, PER_SEQUENCE, "head"),
        ),
    )


def convnext(fields: Fields) -> Architecture:
    """ConvNeXt (Liu et al., arXiv 2201.03545): depthwise 7 x 7, then an inverted bottleneck."""
    widths, depths = fields.sizes("hidden_sizes"), fields.sizes("depths")
    if fields.size("num_stages", len(widths)) != len(widths):
        raise fields.unusable("num_stages", f"{len(widths)}, a stage for each of hidden_sizes,")
    if len(widths) != len(depths):
        raise fields.unusable("depths", f"{len(widths)} numbers, one per stage,")
    side, channels = fields.size("patch_size", 4), fields.size("num_channels", 3)
    scale = fields.values.get("layer_scale_init_value", 1e-6)
    grid = Pixels(_size_or(fields, 224), ((side, side, 0),))
    path = "convnext.embeddings"
    parts: list[Component] = [
        convolution(f"{path}.patch_embeddings", channels, widths[0], side, grid, bias=True, reads="pixels"),
        Norm(f"{path}.layernorm", widths[0], bias=True),
    ]
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        path = f"convnext.encoder.stages.{stage}"
        if stage:
            grid = grid.after((2, 2, 0))
            parts += [
                Norm(f"{path}.downsampling_layer.0", widths[stage - 1], bias=True),
                convolution(f"{path}.downsampling_layer.1", widths[stage - 1], width, 2, grid, bias=True),
            ]
        layer = (
            convolution("dwconv", width, width, 7, grid, bias=True, depthwise=True),
            Norm("layernorm", width, bias=True),
            Linear("pwconv1", width, 4 * width, True, None, grid),
            Linear("pwconv2", 4 * width, width, True, None, grid),
            *([Vector("layer_scale_parameter", width, bare=True)] if scale else []),
        )
        parts.append(encoder(f"{path}.layers", depth, layer))
    parts += [
        Norm("convnext.layernorm", widths[-1], bias=True),
        Linear("classifier", widths[-1], labels(fields), True, None, PER_SEQUENCE, "head"),
    ]
    return images(fields, parts)


def _size_or(fields: Fields, default: int) -> tuple[int, int]:
    return (default, default) if fields.values.get("image_size") is None else image_size(fields)


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
        *_normed("resnet.embedder.embedder", convolution("convolution", channels, width, 7, grid, reads="pixels"))
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
    parts.append(Linear("classifier.1", width, labels(fields), True, None, PER_SEQUENCE, "head"))
    return images(fields, parts)


def _normed(path: str, product: Linear, stream: str = "x") -> tuple[Component, ...]:
    norm = Norm("normalization", product.out_features, bias=True, reads=(stream,), writes=stream)
    return (Group(path, (product, norm)),)


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
        product = convolution("convolution", channels, features, kernel, rows, reads=reads, writes="h")
        parts += _normed(f"layer.{index}", product, "h")
    if width != out or stride != 1:
        parts += _normed("shortcut", convolution("convolution", width, out, 1, after))
    return (*parts, Vector("", 0, reads=("h",)))
