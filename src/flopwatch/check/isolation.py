"""What keeps a check from leaving traces: settings are put back, messages held, files kept in a temporary folder."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from flopwatch.lightning.plugin import VARIABLE

_CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH")


class OutOfTime(BaseException):
    """A check took longer than it may; nothing that survives errors catches it."""


@contextlib.contextmanager
def isolated() -> Iterator[Path]:
    """A temporary folder, with nothing logged or warned; environment, seeds and torch's settings are put back.

    The CPU works with one thread: several that share their cores with other processes mostly wait for each other.
    """
    before = dict(os.environ)
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    threads = torch.get_num_threads()
    silenced = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="flopwatch-check-", ignore_cleanup_errors=True) as folder,
            warnings.catch_warnings(),
            torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_available() else []),
        ):
            warnings.simplefilter("ignore")
            torch.set_num_threads(1)
            os.environ.update(dict.fromkeys(_CACHES, folder))
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # without it cuBLAS does not repeat itself
            os.environ.pop(VARIABLE, None)  # so that a fit without FlopWatch is one
            yield Path(folder)
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        logging.disable(silenced)
        _put_back(before)


def _put_back(environment: Mapping[str, str]) -> None:
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


@contextlib.contextmanager
def without_stderr() -> Iterator[None]:
    """Nothing reaches the process's stderr; torch's profiler writes there from C++."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in what is within if it takes longer; where signals cannot be had there is no limit."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
