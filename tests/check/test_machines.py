"""The table of machines on which the check ran, and the files that it is made of."""

import json

import pytest

from flopwatch.check.results import OUTCOMES
from flopwatch.check.running import SCHEMA
from tests.check.machines import PAGE, RESULTS, regenerated, row

FILES = sorted(RESULTS.glob("*.json"))
RESULT = {
    "versions": {"torch": "2.9.0", "lightning": "2.6.6", "python": "3.12.3", "driver": "580.95.05"},
    "device": {"name": "NVIDIA H100 80GB HBM3", "type": "cuda", "dtype": "bf16"},
    "outcomes": {"pass": 18, "fail": 1, "not here": 1},
    "lines": [
        {"name": "product, two clocks", "outcome": "pass", "found": 700e12},
        {"name": "tensor activity", "outcome": "fail", "found": 0.4},
    ],
}


def test_the_table_is_that_of_the_files():
    page = PAGE.read_text()
    assert regenerated(page) == page, "`python -m tests.check.machines` writes the table anew"


def test_a_row_tells_good_and_bad():
    versions = ["580.95.05", "2.9.0", "2.6.6", "3.12.3"]
    expected = ["NVIDIA H100 80GB HBM3", *versions, "700 TFLOP/s bf16", "18, 1, 1", "tensor activity"]
    assert row(RESULT) == expected
    assert row({**RESULT, "lines": []})[5:] == ["n/a", "18, 1, 1", ""]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_whole_and_names_nobody(path):
    result = json.loads(path.read_text())
    assert result["schema"] == SCHEMA
    outcomes = [line["outcome"] for line in result["lines"]]
    assert result["outcomes"] == {each: outcomes.count(each) for each in OUTCOMES}
    assert not any(each in path.read_text() for each in ("/home/", "/root/", "/tmp/", "/work/", "GPU-"))
