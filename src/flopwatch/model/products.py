"""FLOPs of products by sizes alone, for whoever has tensors and for whoever has only what a trace says of them.

A multiply-add is two FLOPs.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

Sizes = Sequence[int]


def product(a: Sizes, columns: int) -> int:
    """(.., k) x (k, n): (2, 3) x (3, 5) is 2 * 6 * 5 = 60."""
    return 2 * int(prod(a)) * int(columns)


def grouped_product(a: Sizes, b: Sizes) -> int:
    """Every row of one side meets one matrix of the other: experts' products."""
    if len(a) == 2:
        return product(a, b[-1])
    if len(b) == 2:
        return product(a[1:], b[1])
    return product(a, b[2])


def convolution(x: Sizes, weight: Sizes, out: Sizes, transposed: bool) -> int:
    """Every output position (input position, if transposed) meets a kernel of the channels of its group."""
    positions = (x if transposed else out)[2:]
    return int(2 * x[0] * prod(positions) * prod(weight))


def attention(query: Sizes, key: Sizes, value: Sizes) -> int:
    """Both products over all pairs: (.., T, e) x (.., S, e) and (.., T, S) x (.., S, v)."""
    *batch, queries, width = query
    return int(2 * prod(batch) * queries * key[-2] * (width + value[-1]))


def causal_pairs(queries: int, keys: int) -> int:
    """Pairs that causal masking keeps: of 3 queries and 2 keys 1 + 2 + 2 = 5."""
    inside = min(queries, keys)
    return inside * (inside + 1) // 2 + (queries - inside) * keys
