"""FLOPs of `flex_attention`, whose block mask says which blocks of pairs are computed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import chain
from math import prod
from typing import Any

import torch

UNREAD = "the block mask of flex_attention is on the device, and flopwatch does not wait for it: all its pairs count"
# The name under which kernels that are not seen are listed.
COMPILED = "higher_order.flex_attention"
# Where the mask stands among the arguments: its lengths, the blocks of each row of queries that are kept in part (how
# many, which), those that are kept whole, and at its end the sizes of a block, before the function that masks.
_MASK = {"flex_attention": 4, "flex_attention_backward": 9}
_KEPT, _SIZES = ((2, 3), (4, 5)), slice(-3, -1)


def is_flex(operator: Any) -> bool:
    """Return whether an operator is `flex_attention` or its backward."""
    return isinstance(operator, torch._ops.HigherOrderOperator) and operator.name() in _MASK


def is_compiled_in() -> bool:
    """Whether this process has loaded kernels of `flex_attention` that torch.compile made, which no mode sees."""
    cache = sys.modules.get("torch._inductor.codecache")
    modules = getattr(getattr(cache, "PyCodeCache", None), "modules", ())
    return any("flex_attention" in name for module in modules for name in vars(module))


def formula_of(operator: Any) -> Callable[..., int]:
    """Give the formula: both products over all pairs, in the backward four."""
    products = 2 if operator.name() == "flex_attention" else 4

    def formula(query: Any, key: Any, value: Any, *rest: Any, out: Any = None, **named: Any) -> int:
        return int(products * _pairs(query, key) * (query.shape[-1] + value.shape[-1]))

    return formula


def masked(operator: Any, args: tuple[Any, ...], named: dict[str, Any], flops: int) -> int:
    """Tell how many of the FLOPs over all pairs are of blocks that the mask leaves out; none where it is not read."""
    kept, pairs = kept_pairs(operator, args), _pairs(args[0], args[1])
    return 0 if kept is None or not pairs else flops // pairs * (pairs - kept)


def kept_pairs(operator: Any, args: tuple[Any, ...]) -> int | None:
    """Count the pairs of the blocks that are kept; `None` where a device holds the mask.

    A block that holds both sequences is no mask, which is how `flex_attention` says that there is none.
    """
    query, key, mask = args[0], args[1], args[_MASK[operator.name()]]
    rows, columns = (int(each) for each in mask[_SIZES])
    if rows >= query.shape[-2] and columns >= key.shape[-2]:
        return _pairs(query, key)
    if any(mask[place] is not None and mask[place].device.type != "cpu" for place, _ in _KEPT):
        return None
    kept = sum(_kept(mask[count], mask[which], query.shape[-2], key.shape[-2], rows, columns) for count, which in _KEPT)
    return kept * int(prod(query.shape[:2]) // prod(mask[2].shape[:2]))


def _kept(count: Any, which: Any, queries: int, keys: int, rows: int, columns: int) -> int:
    """Pairs of the blocks that are listed for every row of blocks, of which the last ones may be cut off."""
    if count is None:
        return 0
    # In plain lists, so that no operator of ours reaches a mode of the user's.
    pairs = 0
    for counts, order in zip(chain(*count.tolist()), chain(*which.tolist()), strict=True):
        for row, (kept, blocks) in enumerate(zip(counts, order, strict=True)):
            width = sum(min(columns, keys - block * columns) for block in blocks[:kept])
            pairs += min(rows, queries - row * rows) * width
    return pairs


def _pairs(query: Any, key: Any) -> int:
    return int(prod(query.shape[:-1]) * key.shape[-2])
