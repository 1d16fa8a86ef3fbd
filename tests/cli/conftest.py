import json

import pytest

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
