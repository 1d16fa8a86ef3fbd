"""Former place of `flopwatch.model.families`."""

from flopwatch.model.families import architecture_of

__all__ = ["architecture_of"]
