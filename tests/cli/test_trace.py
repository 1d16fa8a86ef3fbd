"""`flopwatch trace`, as typed."""

import json

import pytest

from flopwatch.cli.command_line import DONE, WRONG_USAGE, main
from tests.trace import traces
from tests.trace.traces import H100, kernel


@pytest.fixture
def path(tmp_path):
    return traces.written(tmp_path / "t.json.gz", kernel(0, 10), kernel(12, 20), **H100)


def test_text_json_and_a_page(path, tmp_path, monkeypatch, capsys):
    assert main(["trace", str(path)]) == DONE
    assert "other compute" in capsys.readouterr().out
    assert main(["trace", str(path), "--json"]) == DONE
    assert json.loads(capsys.readouterr().out)["parts"]["idle_other"] == pytest.approx(2e-6)
    monkeypatch.chdir(tmp_path)
    assert main(["trace", str(path), "--html"]) == DONE
    assert capsys.readouterr().out == "trace.html\n"
    assert "<!doctype html>" in (tmp_path / "trace.html").read_text()
    assert main(["trace", str(path), "--json", "-o", str(tmp_path / "t.txt")]) == DONE
    assert json.loads((tmp_path / "t.txt").read_text())["ranks"] == 1


def test_the_users_chips(path, tmp_path, capsys):
    table = tmp_path / "chips.csv"
    table.write_text("names,bf16,memory_bytes_per_second\nMine,1e15,2e12\n")
    assert main(["trace", str(path), "--chips", str(table)]) == DONE


def test_failures_are_one_line(path, tmp_path, assert_known_failure):
    assert_known_failure(["trace", str(tmp_path / "none.json")], "cannot read")
    assert_known_failure(["trace", str(path), str(path)], "twice")
    assert_known_failure(["trace", str(path), "-o", str(tmp_path / "no" / "where.txt")], "cannot write")
    # At once, not after a minute of reading: the trace is not even looked at.
    assert_known_failure(["trace", str(tmp_path / "none.json"), "-o", str(tmp_path)], "cannot write")
    assert_known_failure(["trace", str(tmp_path / "none.json"), "-o", str(tmp_path / "no" / "t.txt")], "cannot write")
    broken = tmp_path / "broken.json"
    broken.write_bytes(path.read_bytes()[:40])
    assert_known_failure(["trace", str(broken)], "damaged or cut-off")


def test_text_or_json_or_page(path, capsys):
    assert main(["trace", str(path), "--json", "--html"]) == WRONG_USAGE
    assert main(["trace"]) == WRONG_USAGE
