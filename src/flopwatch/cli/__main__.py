"""The command line as `python -m flopwatch.cli`."""

from flopwatch.cli.command_line import run

run()
