"""Sizes of a model that its matrix products would run faster without, told from the config alone.

Tensor cores work most efficiently on sizes that are multiples of 16 bytes, on A100 and newer of 128 bytes: of 8 and 64
elements in FP16, 4 and 32 in TF32, 16 and 128 in INT8 (NVIDIA, Matrix Multiplication Background User's Guide, section
"Tensor Core Requirements"). By how much depends on the GPU and its libraries, so no gain is promised; told is the
share of the FLOPs that is concerned.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from flopwatch.hardware.chips import Dtype
from flopwatch.model.architecture import Architecture
from flopwatch.model.batch import Batch
from flopwatch.model.components import AttentionCore, Experts, Linear
from flopwatch.units import format_share

GUIDE = "NVIDIA, Matrix Multiplication Background User's Guide"
FLASH = "head sizes of the kernels of flash-attention 2"
# Multiples of 16 and of 128 bytes, in elements. FP8 as INT8, which is as wide; BF16 as FP16.
_MULTIPLES: Mapping[Dtype, tuple[int, int]] = MappingProxyType(
    {"bf16": (8, 64), "fp16": (8, 64), "tf32": (4, 32), "fp8": (16, 128), "int8": (16, 128)}
)
_FLASH_SIZES = (32, 64, 96, 128)  # of larger sizes versions have different kernels
_LEAST_SHARE = 0.01
_MOST_NAMES = 3


@dataclass(frozen=True)
class ShapeAdvice:
    """A size that costs speed.

    Attributes:
        what: What has the size: "vocabulary", "layers.mlp.up_proj" or "head size".
        size: The size.
        better: The next larger size without the cost.
        share: Share of the forward FLOPs that are in products with this size.
        words: All of it in a sentence.
        source: Where the rule is from.
    """

    what: str
    size: int
    better: int
    share: float
    words: str
    source: str


def shape_advice(architecture: Architecture, batch: Batch, dtype: Dtype = "bf16") -> tuple[ShapeAdvice, ...]:
    """Return the sizes that cost speed, the largest share of FLOPs first; nothing where there is nothing to say.

    Convolutions and patches are left out, and sizes in less than 1% of the FLOPs.

    Args:
        architecture: The model, under the attention convention to count with.
        batch: One batch of one device.
        dtype: Precision of the products; only those of tensor cores have such sizes.
    """
    total = architecture.forward_flops(batch)
    if dtype not in _MULTIPLES or not total:
        return ()
    found = [*_of_matrices(architecture, batch, total, dtype), *_of_rows(architecture, batch, dtype)]
    if dtype in ("bf16", "fp16"):
        found += _of_heads(architecture, batch, total)
    return tuple(sorted((each for each in found if each.share >= _LEAST_SHARE), key=lambda each: -each.share))


def _of_matrices(architecture: Architecture, batch: Batch, total: int, dtype: Dtype) -> Iterator[ShapeAdvice]:
    fine, coarse = _MULTIPLES[dtype]
    flops: dict[int, int] = defaultdict(int)
    names: dict[int, dict[str, None]] = defaultdict(dict)
    for line, leaf, runs, _ in architecture.lines():
        if not isinstance(leaf, (Linear, Experts)) or "conv" in line or getattr(leaf, "role", "") == "patches":
            continue
        for size in {leaf.in_features, leaf.out_features}:
            flops[size] += runs * leaf.forward_flops(batch)
            is_vocabulary = isinstance(leaf, Linear) and leaf.role == "head" and size == leaf.out_features
            names[size]["vocabulary" if is_vocabulary else line] = None
    for size, amount in flops.items():
        if size % coarse:
            what, share = _listed(list(names[size])), amount / total
            better = -(-size // coarse) * coarse
            lacks = f"no multiple of {fine}" if size % fine else f"a multiple of {fine}, but not of {coarse}"
            what_is = f"a {what} of {size:,}" if what == "vocabulary" else f"a size of {size:,} ({what})"
            words = f"{what_is} is {lacks}: {better:,} is, and {format_share(share)} of the forward FLOPs are in it"
            yield ShapeAdvice(what, size, better, share, words, GUIDE)


def _of_rows(architecture: Architecture, batch: Batch, dtype: Dtype) -> Iterator[ShapeAdvice]:
    """The tokens of a batch are the inner size of every product of a weight's gradient."""
    fine, _ = _MULTIPLES[dtype]
    tokens = architecture.tokens(batch)
    if architecture.inputs == "tokens" and tokens % fine:
        better = -(-tokens // fine) * fine
        words = f"{tokens:,} tokens in a batch are no multiple of {fine}: {better:,} are, in every product of the model"
        yield ShapeAdvice("tokens in a batch", tokens, better, 1.0, words, GUIDE)


def _of_heads(architecture: Architecture, batch: Batch, total: int) -> Iterator[ShapeAdvice]:
    """Head sizes that flash attention pads to the size of its next kernel."""
    flops: dict[int, int] = defaultdict(int)
    for leaf, runs, _ in architecture.leaves():
        if isinstance(leaf, AttentionCore) and leaf.key_dim == leaf.value_dim:
            flops[leaf.key_dim] += runs * leaf.forward_flops(batch)
    for size, amount in flops.items():
        better = next((each for each in _FLASH_SIZES if each >= size), size)
        if better != size:
            padding, share = 1 - size / better, amount / total
            wasted = f"{format_share(padding)} of that kernel's products are padding"
            words = (
                f"flash attention runs a head size of {size} in its kernel for {better}: {wasted}, and"
                f" {format_share(share)} of the forward FLOPs are attention; 64 and 128 need none"
            )
            yield ShapeAdvice("head size", size, better, share, words, FLASH)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_MOST_NAMES]) + (
        f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    )
