"""Rates: each written once, absent where something that it needs is unknown, and never clamped."""

from __future__ import annotations

import math


def per_second(amount: float | None, seconds: float | None) -> float | None:
    """Return an amount per second, or `None` if either is unknown."""
    return fraction(amount, seconds)


def utilization(
    flops: int | None, seconds: float | None, devices: int | None, peak_flops_per_second: float | None
) -> float | None:
    """FLOPs / seconds / devices / peak: MFU with model FLOPs, HFU with hardware FLOPs.

    4e15 FLOPs in 2 s on 4 devices of 1e15 FLOP/s are 0.5. Source: PaLM, arXiv 2204.02311, appendix B.

    Args:
        flops: Work of all devices together.
        seconds: Time that it took.
        devices: Number of devices that shared it.
        peak_flops_per_second: Peak of one device.
    """
    return fraction(fraction(per_second(flops, seconds), devices), peak_flops_per_second)


def fraction(part: float | None, whole: float | None) -> float | None:
    """A share of a whole; none of nothing, of less than nothing, or where it is no number any more."""
    if part is None or whole is None or whole <= 0:
        return None
    share = part / whole
    return share if math.isfinite(share) else None
