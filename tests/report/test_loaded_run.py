"""A run as an object: `flopwatch.load`."""

import importlib.util
import sys
from types import SimpleNamespace

import pytest

import flopwatch
from flopwatch.errors import ArgumentError, RunFileError
from flopwatch.report.loaded_run import headline
from flopwatch.report.report import summarize
from flopwatch.report.tail import RunFileFollower
from flopwatch.run.run_file import read_run
from tests import samples
from tests.run.test_run_file import write


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "runs" / "run.jsonl", samples.healthy_run())


def test_a_folder_is_its_newest_run(path):
    run = flopwatch.load(path.parent)
    assert run.path == path
    assert run.report == summarize(read_run(path))
    assert run.mfu == run.report.mfu == pytest.approx(0.4)
    assert flopwatch.load(str(path)) == run


def test_what_is_not_there_is_an_error_of_ours(tmp_path):
    with pytest.raises(RunFileError, match="found nothing at"):
        flopwatch.load(tmp_path / "none")


def test_rows_are_those_that_the_logger_got(path):
    rows = flopwatch.load(path).rows()
    assert [(row["step"], row["first"], row["process"]) for row in rows] == [
        (1, True, 0),
        (11, False, 0),
        (21, False, 0),
    ]
    assert [row["seconds"] for row in rows] == [9.0, 21.0, 33.0]
    logged = list(RunFileFollower(path).rows())
    for row, their in zip(rows[1:], logged, strict=True):
        assert {key: value for key, value in row.items() if "/" in key} == {
            key: value for key, value in their.items() if key != "trainer/global_step"
        }


@pytest.mark.skipif(importlib.util.find_spec("pandas") is None, reason="needs pandas")
def test_a_frame_has_a_row_per_window(path):
    frame = flopwatch.load(path).to_pandas()
    assert list(frame["perf/mfu"].round(6)) == [0.08, 0.4, 0.4]
    assert "gpu/kg_co2" not in frame


def test_a_frame_is_made_of_the_rows_with_the_known_columns(path, monkeypatch):
    made = SimpleNamespace(DataFrame=lambda rows, columns: (rows, columns))
    monkeypatch.setitem(sys.modules, "pandas", made)
    rows, columns = flopwatch.load(path).to_pandas()
    assert columns[:5] == ["step", "seconds", "process", "first", "perf/mfu"]
    assert "gpu/kg_co2" not in columns
    assert rows == flopwatch.load(path).rows()


def test_without_pandas_it_says_how_to_get_it(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        flopwatch.load(path).to_pandas()


def test_a_prompt_and_a_notebook_show_the_headline(tmp_path):
    path = write(tmp_path / "run.jsonl", [samples.start(name="<b>GPT"), *samples.healthy_run()[1:]])
    run = flopwatch.load(path)
    assert repr(run).startswith("<run <b>GPT: status finished, steps 21, MFU 40%, run MFU 24%, model FLOPs 16.8 PFLOPs")
    page = run._repr_html_()
    assert "<caption>&lt;b&gt;GPT</caption>" in page
    assert page.count("<tr>") == page.count("</tr>") == len(headline(run.report))


def test_a_name_moves_no_cursor(tmp_path):
    path = write(tmp_path / "run.jsonl", [samples.start(name="\x1b[2Jx"), *samples.healthy_run()[1:]])
    assert repr(flopwatch.load(path)).startswith("<run \N{REPLACEMENT CHARACTER}[2Jx: ")


def test_what_is_unknown_is_left_out_of_the_headline(tmp_path):
    run = flopwatch.load(write(tmp_path / "run.jsonl", [samples.start()]))
    names = [name for name, _ in headline(run.report)]
    assert names == ["status", "steps", "model FLOPs", "tokens", "wall time", "device"]


def test_the_report_is_rendered_as_the_command_does(path):
    run = flopwatch.load(path)
    assert "40%" in run.render()
    assert run.render("json").startswith("{")
    with pytest.raises(ArgumentError, match="expected one of text, md, json, html, got 'pdf'"):
        run.render("pdf")
