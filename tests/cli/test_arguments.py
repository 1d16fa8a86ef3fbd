"""Chips of a file, for every command that looks for a peak."""

import json

from flopwatch.cli.arguments import RUN_HELP
from flopwatch.cli.command_line import DONE, main


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
