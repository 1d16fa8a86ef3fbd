"""flopwatch: live MFU, FLOPs and time to budget for PyTorch Lightning, and an efficiency report after the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flopwatch.lightning.callback import FlopWatch

__all__ = ["FlopWatch", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import the callback only when it is asked for: `import flopwatch` alone loads no framework."""
    if name == "FlopWatch":
        from flopwatch.lightning.callback import FlopWatch

        return FlopWatch
    raise AttributeError(f"module 'flopwatch' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
