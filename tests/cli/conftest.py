import json

import pytest

from flopwatch.cli import main
from flopwatch.cli.command_line import FAILED
from tests import samples
from tests.model.test_conventions import GPT3
from tests.run.test_run_file import write


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(GPT3))
    return path


@pytest.fixture
def run_file(tmp_path):
    return write(tmp_path / "runs" / "run.jsonl", samples.healthy_run())


@pytest.fixture
def assert_known_failure(capsys):
    """A command fails with one line on stderr, and says this in it."""

    def check(arguments, said):
        assert main(arguments) == FAILED
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("flopwatch: ")
        assert captured.err.count("\n") == 1
        assert said in captured.err

    return check
