"""The page about the commands and the guides say what these do."""

import re

import pytest

from flopwatch.cli.command_line import _COMMANDS
from tests.cli.pages import DOCS, PAGES, make_folder, regenerated, typed_in

PAGE = (DOCS / "cli.md").read_text()


@pytest.fixture
def folder(tmp_path):
    make_folder(tmp_path)
    with typed_in(tmp_path):
        yield tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_print_what_the_page_shows(folder, page):
    assert regenerated(page.read_text()) == page.read_text(), "`python -m tests.cli.pages` writes the outputs anew"


def test_every_command_has_a_section():
    assert set(re.findall(r"^## flopwatch (\w+)$", PAGE, re.MULTILINE)) == set(_COMMANDS)


def test_outputs_fit_eighty_columns():
    pages = "".join(page.read_text() for page in PAGES)
    shown = re.findall(r"^```console\n(?!\$ flopwatch watch)(.*?)^```$", pages, re.MULTILINE | re.DOTALL)
    assert len(shown) > 10
    for block in shown:
        lines = [line for line in block.splitlines() if not line.startswith(("$ ", "flopwatch: "))]
        assert [line for line in lines if len(line) > 80] == []
