"""The former place of `flopwatch.run.run_file`."""

from flopwatch.run.run_file import Run, read_run

__all__ = ["Run", "read_run"]
