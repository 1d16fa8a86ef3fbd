"""Hyperparameters of a run that may be written down: numbers and short words, nothing that looks like a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from flopwatch import units

Scalar = str | int | float | bool
_MOST, _LONGEST_NAME, _LONGEST_VALUE = 100, 100, 200
_MOST_LOOKED_AT = 10_000
_SECRET_NAMES = re.compile(r"key|secret|passw|passphrase|pwd|credential|token(?!s|iz)", re.IGNORECASE)
# An address with a password, and how services begin their tokens.
_SECRET_VALUES = re.compile(r"://[^/\s]*@|\b(?:sk|hf|gh[opsu]|github_pat|glpat|xox[abp]|AKIA)[-_]?[A-Za-z0-9_-]{16}")


def recordable(values: Mapping[Any, Any]) -> dict[str, Scalar]:
    """Return what may be written down: at most 100 numbers, truth values and words of at most 200 characters.

    Left out are names that begin with "_" or hold "key", "token", "secret", "password" and the like, words that look
    like an access token, and numbers that are not finite.

    Args:
        values: By name, as a module keeps them.
    """
    return dict(islice(_recordable(values), _MOST))


def _recordable(values: Mapping[Any, Any]) -> Iterator[tuple[str, Scalar]]:
    for name, value in islice(values.items(), _MOST_LOOKED_AT):
        if not isinstance(name, str) or name.startswith("_") or _SECRET_NAMES.search(name):
            continue
        told = _scalar(value)
        if told is not None:
            yield name[:_LONGEST_NAME], told


def _scalar(value: object) -> Scalar | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return None if _SECRET_VALUES.search(value[: 10 * _LONGEST_VALUE]) else str(value)[:_LONGEST_VALUE]
    if isinstance(value, (int, float)) and abs(value) < units.LARGEST:
        return int(value) if isinstance(value, int) else float(value)
    return None
