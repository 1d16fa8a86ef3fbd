"""Arguments that several commands have: chips of a file, runs, and files to write."""

import json
import os
from pathlib import Path

import pytest

from flopwatch.cli.arguments import RUN_HELP, refuse_unwritable, writing
from flopwatch.cli.command_line import DONE, main
from flopwatch.errors import ArgumentError


def test_chips_of_a_file_are_known_to_gpus_and_estimate(tmp_path, config, capsys, assert_known_failure):
    table = tmp_path / "chips.csv"
    table.write_text("names,bf16\nNVIDIA Foo,123e12\n")
    assert main(["gpus", "--name", "NVIDIA Foo", "--chips", str(table)]) == DONE
    assert "123 TFLOP/s dense" in capsys.readouterr().out
    plan = ["--gpu", "NVIDIA Foo", "--mfu", "0.5", "--chips", str(table), "--json"]
    assert main(["estimate", str(config), "--seq-len", "8", *plan]) == DONE
    assert json.loads(capsys.readouterr().out)["peak_flops_per_second"] == 123e12
    table.write_text("names,bf16\nNVIDIA Foo,fast\n")
    assert_known_failure(["gpus", "--name", "x", "--chips", str(table)], "line 2, bf16: expected a number")
    assert_known_failure(["gpus", "--chips", str(tmp_path / "none.csv")], "check the path")


def test_what_a_run_may_be_is_said_where_one_is_asked_for(capsys):
    assert main(["report", "--help"]) == DONE
    assert " ".join(RUN_HELP.split()) in " ".join(capsys.readouterr().out.split())


def test_a_file_that_can_be_written_is_not_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.txt").write_text("")
    for output in (None, Path("new.txt"), tmp_path / "old.txt"):
        refuse_unwritable(output)


def test_a_place_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    for output in (tmp_path, tmp_path / "none" / "x.txt"):
        with pytest.raises(ArgumentError, match="expected a file in a folder that can be written"):
            refuse_unwritable(output)
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write everywhere
    with pytest.raises(ArgumentError, match="expected a file in a folder that can be written; choose another with -o"):
        refuse_unwritable(tmp_path / "x.txt")


def test_what_cannot_be_written_is_told_with_the_repair(tmp_path):
    expected = f"cannot write {tmp_path}: Is a directory; choose another file with -o"
    with pytest.raises(ArgumentError) as caught, writing(tmp_path):
        tmp_path.write_text("")
    assert str(caught.value) == expected
