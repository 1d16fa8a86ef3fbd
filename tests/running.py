"""Programs of the tests, in processes of their own that can import what the tests share."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = str(Path(__file__).parents[1])


def command(script, *arguments):
    """Run a file, or a line of Python."""
    return [sys.executable, *([str(script)] if isinstance(script, Path) else ["-c", script]), *map(str, arguments)]


def environment(**variables):
    """The variables of a process: nothing of the user's for W&B and flopwatch, and `tests` can be imported."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "FLOPWATCH"))}
    path = [variables.get("PYTHONPATH"), ROOT, os.environ.get("PYTHONPATH")]
    found = {"PYTHONPATH": os.pathsep.join(each for each in path if each)}
    return {**clean, "WANDB_ERROR_REPORTING": "false", **variables, **found}


def start(script, *arguments, variables=None, **options):
    """Start a program whose output can be read."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command(script, *arguments), env=environment(**(variables or {})), **{**pipes, **options})


def run(script, *arguments, variables=None, timeout=180, **options):
    """Run a program to its end."""
    variables, captured = environment(**(variables or {})), {"capture_output": True, "text": True, "timeout": timeout}
    return subprocess.run(command(script, *arguments), env=variables, check=False, **captured, **options)
