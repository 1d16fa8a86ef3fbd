"""The pages about the commands and about Python say what these do."""

import doctest
import re

import pytest

from flopwatch.cli.command_line import _COMMANDS
from tests.cli.pages import DOCS, make_folder, regenerated, typed_in

PAGE, PYTHON = (DOCS / "cli.md").read_text(), (DOCS / "python.md").read_text()


@pytest.fixture
def folder(tmp_path):
    make_folder(tmp_path)
    with typed_in(tmp_path):
        yield tmp_path


def test_the_commands_print_what_the_page_shows(folder):
    assert regenerated(PAGE) == PAGE, "`python -m tests.cli.pages` writes the outputs anew"


def test_every_command_has_a_section():
    assert set(re.findall(r"^## flopwatch (\w+)$", PAGE, re.MULTILINE)) == set(_COMMANDS)


def test_outputs_fit_eighty_columns():
    shown = re.findall(r"^```console\n(?!\$ flopwatch watch)(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(shown) > 5
    for block in shown:
        lines = [line for line in block.splitlines() if not line.startswith(("$ ", "flopwatch: "))]
        assert [line for line in lines if len(line) > 80] == []


def test_the_python_page_does_what_it_shows(folder):
    parsed = doctest.DocTestParser().get_doctest(PYTHON.replace("```\n", "\n"), {}, "python.md", None, 0)
    assert len(parsed.examples) > 8
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(parsed).failed == 0
