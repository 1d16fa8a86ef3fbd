"""The former place of `flopwatch.hardware.chips`."""

from flopwatch.hardware.chips import Chip

__all__ = ["Chip"]
