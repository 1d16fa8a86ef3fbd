"""Torchvision's ResNet, in the names of its code: also ResNeXt, by `groups`, and wide ResNets, by `width_per_group`."""

from __future__ import annotations

from flopwatch.model.architecture import Architecture, Component, Group
from flopwatch.model.batch import PER_SEQUENCE, Pixels
from flopwatch.model.components import Linear, Norm, Vector
from flopwatch.model.families.config import Fields
from flopwatch.model.families.vision import images

_FIRST, _SIDE = 64, 224


def torchvision_resnet(fields: Fields) -> Architecture:
    """ResNet, ResNeXt and wide ResNets (arXiv 1512.03385, 1611.05431, 1605.07146) on 224 x 224 unless told otherwise.

    A bottleneck's middle is width_per_group / 64 x planes x groups wide, and its convolution is in groups.
    """
    depths, groups, width = fields.sizes("layers"), fields.size("groups", 1), fields.size("width_per_group", 64)
    basic = _is_basic(fields)
    if basic and (groups, width) != (1, _FIRST):
        raise fields.unusable("block", "'Bottleneck' with groups or width_per_group")
    side = fields.size("image_size", _SIDE)
    grid = Pixels((side, side), ((7, 2, 3),))
    parts: list[Component] = _normed("conv1", "bn1", 3 * 7 * 7, _FIRST, grid, "pixels", "x")
    grid, channels = grid.after((3, 2, 1)), _FIRST
    for stage, depth in enumerate(depths):
        planes = _FIRST * 2**stage
        out = planes if basic else 4 * planes
        for index in range(depth):
            stride = 2 if stage and not index else 1
            after = grid if stride == 1 else grid.after((3, 2, 1))
            inner = planes if basic else int(planes * width / 64) * groups
            block = _basic(channels, out, after) if basic else _bottleneck(channels, inner, out, groups, grid, after)
            if stride > 1 or channels != out:
                block += _normed("downsample.0", "downsample.1", channels, out, after, "x", "x")
            parts.append(Group(f"layer{stage + 1}.{index}", (*block, Vector("", 0, reads=("h",)))))
            channels, grid = out, after
    classes = fields.size("num_classes", 1000)
    return images(fields, (*parts, Linear("fc", channels, classes, True, None, PER_SEQUENCE, "head")))


def _is_basic(fields: Fields) -> bool:
    kind = str(fields.values.get("block"))
    if kind not in ("BasicBlock", "Bottleneck"):
        raise fields.needed("block", "'BasicBlock' or 'Bottleneck'")
    return kind == "BasicBlock"


def _normed(name: str, norm: str, terms: int, out: int, rows: Pixels, reads: str, writes: str) -> list[Component]:
    """A convolution, of which every output has so many terms, and its norm."""
    return [
        Linear(name, terms, out, False, None, rows, reads=(reads,), writes=writes),
        Norm(norm, out, bias=True, reads=(writes,), writes=writes),
    ]


def _basic(channels: int, out: int, after: Pixels) -> list[Component]:
    return [
        *_normed("conv1", "bn1", 9 * channels, out, after, "x", "h"),
        *_normed("conv2", "bn2", 9 * out, out, after, "h", "h"),
    ]


def _bottleneck(channels: int, inner: int, out: int, groups: int, before: Pixels, after: Pixels) -> list[Component]:
    return [
        *_normed("conv1", "bn1", channels, inner, before, "x", "h"),
        *_normed("conv2", "bn2", 9 * inner // groups, inner, after, "h", "h"),
        *_normed("conv3", "bn3", inner, out, after, "h", "h"),
    ]
