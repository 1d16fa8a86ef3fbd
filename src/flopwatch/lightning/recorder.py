"""`torch.profiler` for a few steps, used so that it and profilers of others leave each other alone."""

from __future__ import annotations

import ctypes
import gc
import gzip
import shutil
import sys
import weakref
from pathlib import Path
from typing import Any, Protocol

import torch

WARM_UP_STEPS, ACTIVE_STEPS = 1, 3  # the first step of a profiler is slower
_BLOCK = 2**20
_own: weakref.WeakSet[object] = weakref.WeakSet()


class LostProfileError(Exception):
    """Another profiler took over, so that nothing of ours was recorded."""


class Recorder(Protocol):
    """A profiler of a few steps."""

    def start(self) -> None:
        """Begin."""

    def step(self) -> None:
        """Note that an optimizer step has ended; with the last one recording ends."""

    def stop(self) -> None:
        """End, wherever it stands."""

    def write(self, path: Path) -> None:
        """Write the trace, gzipped; on another thread.

        Raises:
            LostProfileError: If nothing was recorded.
        """


class TorchRecorder:
    """Records three steps after one of warm-up, with shapes, of the CPU and the device."""

    def __init__(self) -> None:
        schedule = torch.profiler.schedule(wait=0, warmup=WARM_UP_STEPS, active=ACTIVE_STEPS, repeat=1)
        self._profile = torch.profiler.profile(schedule=schedule, record_shapes=True)
        self._is_lost = False
        self._references = 0
        _own.add(self._profile)

    def start(self) -> None:
        """Begin."""
        self._profile.start()
        if self._profile.profiler is not None:
            _own.add(self._profile.profiler)
        self._references = _references()

    def step(self) -> None:
        """Note that an optimizer step has ended; with the last one recording ends.

        Raises:
            LostProfileError: If another profiler has taken over, which this would end.
        """
        if self._is_taken_over():
            raise LostProfileError("another profiler took over")
        self._profile.step()

    def stop(self) -> None:
        """End, wherever it stands; a profiler that took over goes on."""
        if not self._is_taken_over():
            self._profile.stop()

    def _is_taken_over(self) -> bool:
        """Whether another profiler has begun; objects are looked at only if there may be one, since that takes long."""
        before, self._references = self._references, _references()
        if self._references > before and not self._is_lost and _others(torch.autograd.profiler.profile):
            self._is_lost = True
            _keep_for_good(self._profile)
        return self._is_lost

    def write(self, path: Path) -> None:
        """Write the trace, gzipped; on another thread.

        Raises:
            LostProfileError: If nothing was recorded: to save nothing would crash the process.
        """
        inner = self._profile.profiler
        results = None if inner is None else inner.kineto_results
        if results is None or not results.trace_start_ns():
            _keep_for_good(self._profile)
            raise LostProfileError("nothing was recorded")
        plain = path.with_name(f"{path.name}.tmp")
        try:
            self._profile.export_chrome_trace(str(plain))
            compress(plain, path)
        finally:
            plain.unlink(missing_ok=True)


def _keep_for_good(profile: object) -> None:
    """Never free a profile that was taken over: torch may do that twice, and end the process."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(profile))


def compress(plain: Path, path: Path) -> None:
    """Write a file gzipped under a name that it has only once it is whole; other threads go on meanwhile."""
    unfinished = path.with_name(f"{path.name}.part")
    try:
        with plain.open("rb") as source, gzip.open(unfinished, "wb", compresslevel=5) as target:
            shutil.copyfileobj(source, target, _BLOCK)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def another_profiler(trainer_profiler: Any) -> str | None:
    """Name a profiler of torch that is there already, even if it waits: there can be one at a time.

    Args:
        trainer_profiler: The Trainer's.
    """
    if any(base.__name__ == "PyTorchProfiler" for base in type(trainer_profiler).__mro__):
        return "the Trainer's PyTorchProfiler"
    if getattr(torch.autograd.profiler, "_is_profiler_enabled", False):
        return "another torch.profiler"
    if not _others(torch.profiler.profile):
        return None
    gc.collect()  # some may be over, and in circles
    return "another torch.profiler" if _others(torch.profiler.profile) else None


def _references() -> int:
    """Count references to the class of what records, whoever made it: each of its objects holds one."""
    return sys.getrefcount(torch.autograd.profiler.profile)


def _others(kind: type) -> bool:
    # By the class as it is, since to ask an object for it may run its code.
    profilers = [each for each in gc.get_objects() if issubclass(type(each), kind)]
    return any(each not in _own for each in profilers)
