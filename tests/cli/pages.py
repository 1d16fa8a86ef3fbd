"""The folder in which the commands of docs/cli.md and docs/python.md are typed, and what they print there.

`python -m tests.cli.pages` writes the outputs into docs/cli.md anew.
"""

import contextlib
import io
import json
import os
import re
import shlex
import sys
import tempfile
import time
from dataclasses import fields, replace
from pathlib import Path

from flopwatch.cli import main
from tests import samples
from tests.model.test_conventions import GPT3
from tests.model.test_shape_advice import GPT2, LLAMA_7B, PHI2
from tests.run.test_run_file import write

DOCS = Path(__file__).parents[2] / "docs"
CONFIGS = {"gpt3": GPT3, "gpt2": GPT2, "llama-7b": LLAMA_7B, "phi-2": PHI2}
NEW_YEAR = 1_767_225_600.0  # 2026-01-01 00:00 UTC
_TIMES = {"time", "started_at", "ended_at"}
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def later(records, seconds):
    """The records of a run that began at another time."""
    for each in records:
        moved = {field.name: getattr(each, field.name) + seconds for field in fields(each) if field.name in _TIMES}
        yield replace(each, **moved)


def make_folder(folder):
    """Write configs and runs into a folder."""
    for name, config in CONFIGS.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(config))
    priced = [replace(samples.start(), usd_per_device_hour=2.5), *samples.healthy_run()[1:]]
    write(folder / "runs" / "baseline" / "run.jsonl", list(later(priced, NEW_YEAR)))
    write(folder / "runs" / "larger-batch" / "run.jsonl", list(later(priced[:-1], NEW_YEAR + 86_400)))
    os.utime(folder / "runs" / "baseline" / "run.jsonl", (NEW_YEAR, NEW_YEAR))


@contextlib.contextmanager
def typed_in(folder):
    """In the folder, on a terminal of 80 columns, in UTC."""
    before, place = {name: os.environ.get(name) for name in ("COLUMNS", "TZ")}, Path.cwd()
    os.environ.update(COLUMNS="80", TZ="UTC")
    time.tzset()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(place)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        time.tzset()


def output_of(command):
    """What a command prints, errors too."""
    program, *arguments = shlex.split(command)
    assert program == "flopwatch"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        main(arguments)
    return "\n".join(line.rstrip() for line in printed.getvalue().splitlines())


def regenerated(page):
    """The page with what its commands print now."""
    return _BLOCK.sub(lambda block: f"```console\n{_answered(block[1])}```", page)


def _answered(block):
    commands = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
    return "".join(f"$ {command}\n{output_of(command)}\n" for command in commands)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        make_folder(Path(name))
        with typed_in(name):
            new = regenerated((DOCS / "cli.md").read_text())
    (DOCS / "cli.md").write_text(new)
    sys.stdout.write(new)
