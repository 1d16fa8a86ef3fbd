"""flopwatch: live MFU, FLOPs and time to budget for PyTorch Lightning, and an efficiency report after the run."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flopwatch.lightning.callback import FlopWatch
    from flopwatch.report.estimating import estimate
    from flopwatch.report.loaded_run import LoadedRun, load

__all__ = ["FlopWatch", "LoadedRun", "__version__", "estimate", "load"]
__version__ = "0.2.0"
_HOMES = {
    "FlopWatch": "flopwatch.lightning.callback",
    "LoadedRun": "flopwatch.report.loaded_run",
    "estimate": "flopwatch.report.estimating",
    "load": "flopwatch.report.loaded_run",
}


def __getattr__(name: str) -> object:
    """Import what is asked for when it is asked for: `import flopwatch` alone loads no framework."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'flopwatch' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
