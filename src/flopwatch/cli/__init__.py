"""The command line."""

from flopwatch.cli.command_line import main, run

__all__ = ["main", "run"]
