"""The quick tests, all of them, under several versions of everything else.

    pip install uv
    python tests/compatibility/matrix.py [CELL ...] [--python-folder ~/.pyenv/versions]

Each cell is a fresh environment: its Python, the pinned packages below, and of all others the newest that go with them.
It runs the README's test command and main job (for 20 steps), and prints a row of `results.md`. An environment takes
GBs and minutes to fetch, so this is no part of CI. What a cell leaves out (`without`) its versions cannot do at all.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = (
    "pytest>=8",
    "pytest-timeout",
    "pytest-xdist",
    "hypothesis",
    "jsonargparse[signatures]>=4.27.7",
    "lightning",
    "tensorboard>=2.14",
)
# Written down once and only right for the versions that CI pins.
PINNED_BY_CI = ("tests/test_docs.py", "tests/test_security.py", "tests/test_layers.py", "tests/report/test_tail.py")


@dataclass(frozen=True)
class Cell:
    """A Python and the versions that go with it; `without` are test files that those versions cannot run."""

    name: str
    python: str
    pins: tuple[str, ...]
    more: tuple[str, ...] = ("transformers>=5.0", "peft>=0.15", "wandb-workspaces>=0.4.13,<0.5")
    without: tuple[str, ...] = field(default=PINNED_BY_CI)


OLDEST = ("jinja2==3.1.0", "msgspec==0.19.0", "nvidia-ml-py==12.535.77", "tabulate==0.9.0")
# Lightning 2.2 imports pkg_resources, which newer setuptools do not have.
LIGHTNING_2_2 = ("pytorch-lightning==2.2.*", "lightning==2.2.*", "setuptools<81")
CELLS = (
    Cell(
        "oldest",
        "3.10",
        ("torch==2.4.*", *LIGHTNING_2_2, "wandb==0.19.*", *OLDEST),
        more=(),
    ),
    Cell("2.6", "3.11", ("torch==2.6.*", "pytorch-lightning==2.4.*", "lightning==2.4.*", "wandb==0.29.*")),
    Cell("2.9", "3.12", ("torch==2.9.*", "pytorch-lightning==2.5.*", "lightning==2.5.*", "wandb==0.30.*")),
    Cell("newest", "3.13", ("torch==2.13.*", "pytorch-lightning==2.6.*", "lightning==2.6.*", "wandb==0.31.*")),
)
SHOWN = ("torch", "pytorch-lightning", "wandb", "transformers", "nvidia-ml-py")


def python_of(version, folder):
    """An interpreter of this version: in a folder of pyenv's kind, or on the path."""
    installed_there = sorted(folder.expanduser().glob(f"{version}.*/bin/python"))
    found = str(installed_there[-1]) if installed_there else shutil.which(f"python{version}")
    if found is None:
        raise SystemExit(f"expected a Python {version} on the path or in {folder}, found none")
    return found


def run(cell, folder):
    """A row: what was installed, and how the tests and the main job ended."""
    with tempfile.TemporaryDirectory(prefix="flopwatch-matrix-") as work:
        environment, tree, pins = Path(work, "venv"), Path(work, "tree"), Path(work, "pins.txt")
        subprocess.run(["git", "clone", "--quiet", ROOT, tree], check=True)
        subprocess.run(["uv", "venv", "--quiet", "--python", python_of(cell.python, folder), environment], check=True)
        pins.write_text("\n".join(cell.pins))
        seed = [each for each in cell.pins if each.startswith("setuptools")]
        install = ["uv", "pip", "install", "--quiet", "--python", environment / "bin" / "python", "-c", pins]
        subprocess.run([*install, "-e", f"{tree}[demo]", *TOOLS, *cell.more, *seed], check=True)
        python = str(environment / "bin" / "python")
        left_out = [f"--ignore={each}" for each in cell.without]
        clean = {**os.environ, "PATH": f"{environment / 'bin'}:{os.environ['PATH']}", "WANDB_MODE": "offline"}
        tests = subprocess.run(
            [python, "-m", "pytest", "-q", *left_out], cwd=tree, env=clean, capture_output=True, text=True, timeout=3600
        )
        job = subprocess.run(
            [python, "examples/train_gpt.py", "--max-steps", "20"],
            cwd=tree,
            env=clean,
            capture_output=True,
            timeout=900,
        )
        for line in tests.stdout.splitlines():
            if line.startswith(("FAILED", "ERROR")):
                print("   ", line[:200])
        ended = re.search(r"[\d, a-z]*\bpassed\b[^=]* in ", tests.stdout.splitlines()[-1] + " in ")
        return [
            cell.name,
            version_of(python),
            *(installed(environment, package) for package in SHOWN),
            ended.group().removesuffix(" in ").partition(" in ")[0] if ended else tests.stdout[-200:],
            "done" if job.returncode == 0 else f"failed: {job.stderr.decode()[-200:]}",
        ]


def version_of(python):
    return subprocess.run([python, "-V"], capture_output=True, text=True).stdout.split()[-1]


def installed(environment, package):
    command = ["uv", "pip", "show", "--python", environment / "bin" / "python", package]
    shown = subprocess.run(command, capture_output=True, text=True).stdout
    found = re.search(r"^Version: (\S+)", shown, re.MULTILINE)
    return found.group(1) if found else "none"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cells", nargs="*", metavar="CELL", default=[cell.name for cell in CELLS])
    parser.add_argument("--python-folder", type=Path, default=Path("~/.pyenv/versions"))
    arguments = parser.parse_args()
    print("| cell | Python | " + " | ".join(SHOWN) + " | tests | main job |")
    print("|---" * (4 + len(SHOWN)) + "|", flush=True)
    for cell in CELLS:
        if cell.name in arguments.cells:
            print("| " + " | ".join(run(cell, arguments.python_folder)) + " |", flush=True)


if __name__ == "__main__":
    main()
