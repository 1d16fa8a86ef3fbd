"""The former place of `flopwatch.report.render`."""

from flopwatch.report.render import RENDERERS

__all__ = ["RENDERERS"]
