"""Benchmarks follow the code: those that need nothing else run to their end, as small as they can be."""

from pathlib import Path

import pytest

from tests import running

HERE = Path(__file__).parent
SMALL = {
    "counting": [],
    "overhead": ["--rounds", "2", "--steps", "50"],
    "projection": ["--runs", "2"],
    "ranks": [],
    "reports": ["--windows", "200", "--rows", "200"],
    "sampling": [],
    "wandb_logging": ["--rounds", "2"],
    "watching": ["--seconds", "1"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_it_runs_and_prints_numbers(name, tmp_path):
    result = running.run(HERE / f"{name}.py", *SMALL[name], cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    assert any(each.isdigit() for each in result.stdout)
