"""Line charts out of braille characters, two by four dots in each, for terminals."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

_EMPTY = 0x2800
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # by column and, from the top, row of a character


def plot(values: Sequence[float], width: int, height: int) -> list[str]:
    """Draw values as a line from the left to the right, the lowest at the bottom, the highest at the top.

    Args:
        values: At least one; of more than two per character the means of equal stretches are drawn.
        width: Characters in a line.
        height: Lines.

    Returns:
        `height` lines of `width` characters each; values that are all equal are a line in the middle.
    """
    levels = _levels(_resampled(values, 2 * width), 4 * height)
    cells = [[0] * width for _ in range(height)]
    for place, level in enumerate(levels):
        before = levels[place - 1] if place else level
        low, high = sorted((level, before + (level > before) - (level < before)))
        for dot in range(low, high + 1):
            row = 4 * height - 1 - dot
            cells[row // 4][place // 2] |= _DOTS[place % 2][row % 4]
    return ["".join(chr(_EMPTY + cell) for cell in line) for line in cells]


def _resampled(values: Sequence[float], points: int) -> list[float]:
    """As many values as there are columns of dots: means of stretches, or between two values a straight line."""
    count = len(values)
    if count >= points:
        edges = [place * count // points for place in range(points + 1)]
        return [sum(values[one:other]) / (other - one) for one, other in pairwise(edges)]
    sampled = []
    for place in range(points):
        at = place * (count - 1) / (points - 1)
        left = min(int(at), count - 1)
        right = min(left + 1, count - 1)
        sampled.append(values[left] + (values[right] - values[left]) * (at - left))
    return sampled


def _levels(values: Sequence[float], dots: int) -> list[int]:
    low, high = min(values), max(values)
    if high == low:
        return [dots // 2] * len(values)
    return [round((value - low) / (high - low) * (dots - 1)) for value in values]
