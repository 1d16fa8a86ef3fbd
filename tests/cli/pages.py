"""The folder in which the commands of the docs are typed, and what they print there.

`python -m tests.cli.pages` writes the outputs into docs/cli.md and the guides anew.
"""

import contextlib
import io
import json
import os
import re
import shlex
import tempfile
import time
from dataclasses import fields, replace
from pathlib import Path

from flopwatch.cli import main
from flopwatch.run.records import Start, Totals
from tests import samples
from tests.benchmarks import pages as made_up
from tests.model.test_conventions import GPT3
from tests.model.test_shape_advice import GPT2, LLAMA_7B, PHI2
from tests.run.test_run_file import write

DOCS = Path(__file__).parents[2] / "docs"
PAGES = (DOCS / "cli.md", *sorted((DOCS / "guides").glob("*.md")))
# LLaVA 1.5 7B (its config on Hugging Face): CLIP ViT-L/14 at 336 pixels before Vicuna 7B.
_VISION = {
    "model_type": "clip_vision_model",
    **{"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16},
    **{"image_size": 336, "patch_size": 14, "projection_dim": 768, "vocab_size": 32000},
}
LLAVA = {
    **{"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"], "vision_config": _VISION},
    "text_config": {**LLAMA_7B, "vocab_size": 32064},
}
CONFIGS = {"gpt3": GPT3, "gpt2": GPT2, "llama-7b": LLAMA_7B, "phi-2": PHI2, "llava": LLAVA}
HOT = Start(
    *("run", made_up.BEGAN, made_up.BEGAN, 0, made_up.H100, Totals(joules=0)),
    name="llama-8b (made up)",
    usd_per_device_hour=2.5,
)
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
    made_up.write(folder / "llama-8b" / "run.jsonl", HOT, 300, throttled=True)


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
    """What a command prints, errors too; of `| head -N` and `| tail -N` those lines."""
    command, _, cut = command.partition(" | ")
    program, *arguments = shlex.split(command)
    assert program == "flopwatch"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        main(arguments)
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    part, _, count = cut.partition(" -")
    return "\n".join({"": lines, "head": lines[: int(count or 0)], "tail": lines[-int(count or 0) :]}[part])


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
            for page in PAGES:
                page.write_text(regenerated(page.read_text()))
