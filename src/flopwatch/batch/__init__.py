"""The former place of `flopwatch.model.batch`."""

from flopwatch.model.batch import Batch

__all__ = ["Batch"]
