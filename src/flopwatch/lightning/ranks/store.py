"""The store that every process of the job is already connected to.

No connection of our own is made: at each one torch's server looks the other side's name up, on the one thread that
serves all, and where names resolve slowly or nowhere that takes seconds, for everybody. torch's own watchdog shares the
connection with the training thread in the same way; each of our calls is answered at once, since none waits for a key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch.distributed as dist
from torch.distributed import distributed_c10d

Store = Any
_KEYS_AT_ONCE = (
    256  # a few milliseconds, for which the training thread would have to wait if it had to do with the store
)


def jobs_store() -> Store | None:
    """What the processes of the job share; `None` where there is no process group, or torch does not say."""
    if not dist.is_available() or not dist.is_initialized():
        return None
    try:
        return distributed_c10d._get_default_store()
    except (RuntimeError, AttributeError, ValueError):
        return None


def read(store: Store, keys: Sequence[str]) -> list[bytes]:
    """Return the values of keys that exist, in order."""
    return [value for some in _parts(keys) for value in store.multi_get(some)]


def present(store: Store, keys: Sequence[str]) -> list[bool]:
    """Return whether the keys exist, in order."""
    found: list[bool] = []
    for some in _parts(keys):
        found += [True] * len(some) if store.check(some) else [bool(store.check([key])) for key in some]
    return found


def _parts(keys: Sequence[str]) -> Iterator[list[str]]:
    for first in range(0, len(keys), _KEYS_AT_ONCE):
        yield list(keys[first : first + _KEYS_AT_ONCE])
