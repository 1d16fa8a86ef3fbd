"""What the docs tell to type can be typed: commands, Python sessions, and code against the real classes' signatures."""

import doctest
import re
import shlex
import uuid
from pathlib import Path
from unittest.mock import MagicMock, create_autospec

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.strategies import FSDPStrategy

from flopwatch import FlopWatch
from flopwatch.cli.command_line import command_parser
from tests.cli.pages import make_folder, typed_in
from tests.lightning.models import TinyGPT, loader

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]


def blocks(page, language):
    """The code blocks of a language; every fence opens a block or closes one."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [code for each, code in fenced if each == language]


def named(pages):
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages]


def commands(page):
    """The lines of plain blocks that begin with `flopwatch`, without comments, pipes and files."""
    for block in (*blocks(page, ""), *blocks(page, "bash")):
        for line in block.splitlines():
            words = re.split(r"\s+[#>|]", line.removeprefix("$ "))[0]
            if words.startswith("flopwatch "):
                yield words


@pytest.mark.parametrize("page", named(page for page in PAGES if list(commands(page))))
def test_every_command_takes_these_arguments(page):
    for line in commands(page):
        arguments, unknown = command_parser().parse_known_args(shlex.split(line)[1:])
        assert callable(arguments.command), line
        assert unknown == [], line


SESSIONS = [page for page in PAGES if ">>> " in page.read_text()]


@pytest.mark.parametrize("page", named(SESSIONS))
def test_python_sessions_print_what_the_page_shows(page, tmp_path):
    text = re.sub(r"^```.*$", "", page.read_text(), flags=re.MULTILINE)
    session = doctest.DocTestParser().get_doctest(text, {}, page.name, None, 0)
    make_folder(tmp_path)
    with typed_in(tmp_path):
        assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(session).failed == 0
    assert len(session.examples) > 1


def test_sessions_are_in_these_pages():
    assert {page.name for page in SESSIONS} >= {"python.md", "sweeps.md", "without-wandb.md"}


def names():
    """What the code of the guides refers to: flopwatch as it is, Lightning's classes by their signatures alone."""
    trainer = create_autospec(pl.Trainer)
    return {
        "FlopWatch": FlopWatch,
        "ModelCheckpoint": ModelCheckpoint,
        "Path": Path,
        "pl": pl,
        "torch": torch,
        "uuid": uuid,
        "Trainer": trainer,
        "trainer": trainer(),
        "FSDPStrategy": create_autospec(FSDPStrategy),
        "WandbLogger": create_autospec(WandbLogger),
        "logger": MagicMock(),
        "model": TinyGPT(),
        "data": loader(2),
        "run": MagicMock(),
        "step": MagicMock(),
    }


GUIDES = [
    *(ROOT / "docs" / name for name in ("index.md", "inside.md", "python.md")),
    *(ROOT / "docs" / "guides").glob("*.md"),
]


@pytest.fixture(scope="session")
def own_operator():
    """An operator like the one that a guide gives a formula."""
    library = torch.library.Library("my_library", "DEF")
    library.define("project(Tensor rows, Tensor weight) -> Tensor")
    return library


@pytest.mark.parametrize("page", named(page for page in GUIDES if blocks(page, "python")))
def test_the_guides_code_runs(page, tmp_path, monkeypatch, own_operator):
    monkeypatch.chdir(tmp_path)
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names())


@pytest.mark.parametrize("page", named(page for page in PAGES if blocks(page, "python")))
def test_all_python_compiles(page):
    for block in blocks(page, "python"):
        compile(block, page.name, "exec")


@pytest.mark.slow
def test_the_readmes_ten_lines_train(tmp_path, monkeypatch):
    """In three steps, without a network; everything else is as it is printed."""
    (code,) = blocks(ROOT / "README.md", "python")
    assert len(code.splitlines()) <= 11
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert "max_steps=100_000" in code
    variables = {"model": TinyGPT(), "data": loader(4)}
    exec(compile(code.replace("max_steps=100_000", "max_steps=3"), "README.md", "exec"), variables)
    assert variables["trainer"].global_step == 3
    assert list(tmp_path.rglob("report.html"))
    assert list(tmp_path.rglob("*.wandb"))
