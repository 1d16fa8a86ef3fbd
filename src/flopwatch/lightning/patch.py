"""Listening in on a method of an object that belongs to somebody else, and leaving it as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_ABSENT = object()


class Patch:
    """Calls `listener(original, *arguments)` in place of one object's method until it is removed.

    Args:
        owner: The object; its class is not touched.
        name: The method's name.
        listener: Gets the original method first, then the call's arguments.
    """

    def __init__(self, owner: Any, name: str, listener: Callable[..., Any]) -> None:
        self._owner, self._name = owner, name
        self._before = owner.__dict__.get(name, _ABSENT)
        original = getattr(owner, name)

        def patched(*arguments: Any, **named: Any) -> Any:
            return listener(original, *arguments, **named)

        self._patched = patched
        setattr(owner, name, patched)

    def remove(self) -> None:
        """Put back what was there, unless somebody else has put something there since."""
        if self._owner.__dict__.get(self._name) is not self._patched:
            return
        if self._before is _ABSENT:
            delattr(self._owner, self._name)
        else:
            setattr(self._owner, self._name, self._before)
