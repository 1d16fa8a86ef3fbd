"""Chips of the user: by argument, by file, from an installed package; and which of them wins."""

from pathlib import Path

import pytest

from flopwatch.errors import ArgumentError
from flopwatch.hardware.chips import Chip, find_chip
from flopwatch.hardware.user_chips import user_chips

SCRIPTS = Path(__file__).parent / "scripts"
FOO = Chip(("NVIDIA Foo",), {"bf16": 1e12})


def table(path, peak):
    path.write_text(f"names,bf16\nNVIDIA Foo,{peak}\n")
    return path


def peak_of(chips, name="NVIDIA Foo"):
    return find_chip(name, chips).peak_flops_per_second("bf16")


@pytest.fixture(autouse=True)
def no_files(monkeypatch):
    monkeypatch.delenv("FLOPWATCH_CHIPS", raising=False)


def test_by_argument(tmp_path):
    assert user_chips() == ()
    assert peak_of(user_chips([FOO])) == 1e12
    assert peak_of(user_chips(table(tmp_path / "a.csv", 2e12))) == 2e12
    assert peak_of(user_chips(str(tmp_path / "a.csv"))) == 2e12


def test_a_row_of_the_table_can_be_replaced():
    h100 = Chip(("NVIDIA H100 80GB HBM3",), {"bf16": 1e15})
    assert peak_of(user_chips([h100]), "H100 80GB HBM3") == 1e15
    assert peak_of((), "NVIDIA H100 80GB HBM3") == 989.4e12


def test_the_nearest_to_the_user_wins(tmp_path, monkeypatch):
    files = [table(tmp_path / "one.csv", 3e12), table(tmp_path / "two.csv", 4e12)]
    monkeypatch.setenv("FLOPWATCH_CHIPS", f"{files[0]}:{files[1]}")
    assert peak_of(user_chips()) == 4e12
    assert peak_of(user_chips([FOO])) == 1e12


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("missing.csv", "cannot read the chips in missing.csv: No such file or directory; check the path"),
        (3, "expected a CSV file or a list of flopwatch.hardware.chips.Chip"),
        ([3], "expected a CSV file or a list of flopwatch.hardware.chips.Chip"),
    ],
)
def test_anything_else_is_refused(given, said):
    with pytest.raises(ArgumentError, match=said):
        user_chips(given)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(ArgumentError, match="in UTF-8"):
        user_chips(tmp_path / "a.csv")


def test_the_variable_is_named_in_its_error(monkeypatch):
    monkeypatch.setenv("FLOPWATCH_CHIPS", "/nowhere.csv")
    with pytest.raises(ArgumentError, match="in the environment variable FLOPWATCH_CHIPS: cannot read"):
        user_chips()


@pytest.mark.parametrize(("function", "expected"), [("chips", "5000000000000.0"), ("broken", "none")])
def test_chips_of_an_installed_package(python, tmp_path, function, expected):
    information = tmp_path / "mychips-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: mychips\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[flopwatch.chips]\nmine = my_chips:{function}\n")
    # What is in the script's folder can be imported.
    result = python(SCRIPTS / "list_chips.py", environment={"PYTHONPATH": str(tmp_path)})
    assert result.stdout.strip() == expected, result.stderr
    assert ("RuntimeError: on purpose" in result.stderr) == (function == "broken")
