"""Rates: each written once, absent where something that it needs is unknown, and never clamped."""

from __future__ import annotations


def per_second(amount: float | None, seconds: float | None) -> float | None:
    """An amount per second."""
    if amount is None or not seconds or seconds < 0:
        return None
    return amount / seconds


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
    rate = per_second(flops, seconds)
    if rate is None or not devices or not peak_flops_per_second:
        return None
    return rate / devices / peak_flops_per_second


def fraction(part: float | None, whole: float | None) -> float | None:
    """A share of a whole."""
    if part is None or not whole:
        return None
    return part / whole
