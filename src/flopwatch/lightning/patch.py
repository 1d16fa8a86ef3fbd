"""Listening in on a method of an object that belongs to somebody else, and leaving it as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_ABSENT = object()


class Patch:
    """Puts a wrapped method on one object until it is removed.

    Args:
        owner: The object; its class is not touched.
        name: The method's name.
        wrap: Gets the original method and returns what to call in its place.
    """

    def __init__(self, owner: Any, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        self._owner, self._name = owner, name
        self._before = owner.__dict__.get(name, _ABSENT)
        self._patched = wrap(getattr(owner, name))
        setattr(owner, name, self._patched)

    def remove(self) -> None:
        """Put back what was there, unless somebody else has put something there since."""
        if self._owner.__dict__.get(self._name) is not self._patched:
            return
        if self._before is _ABSENT:
            delattr(self._owner, self._name)
        else:
            setattr(self._owner, self._name, self._before)
