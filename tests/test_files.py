"""Files from elsewhere: what stands before their first letter, and where they are."""

import json

import pytest

from flopwatch import files
from flopwatch.cli.command_line import main
from flopwatch.errors import ArgumentError
from flopwatch.hardware.user_chips import chips_from_file
from flopwatch.model.families import architecture_of
from flopwatch.report.plan import read_plan
from flopwatch.report.tail import follow
from flopwatch.run.lineage import last_sign
from flopwatch.run.records import to_json
from flopwatch.run.run_file import read_run, read_start
from tests import samples
from tests.model.families.families import FAMILIES

MARK = b"\xef\xbb\xbf"


def test_a_byte_order_mark_is_read_over(tmp_path):
    config, chips, plan, run = (tmp_path / name for name in ("config.json", "chips.csv", "plan.json", "run.jsonl"))
    values = {"model_type": "gpt2", **FAMILIES["gpt2"][2]}
    config.write_bytes(MARK + json.dumps(values).encode())
    chips.write_bytes(MARK + b"names,bf16\r\nMy GPU,5e12\r\n")
    plan.write_bytes(MARK + b'{"training_flops": 5}')
    run.write_bytes(MARK + "".join(to_json(each) + "\r\n" for each in samples.healthy_run()).encode())
    assert architecture_of(config).parameters() == architecture_of(values).parameters()
    assert chips_from_file(chips)[0].peaks == {"bf16": 5e12}
    assert read_plan(plan) == {"training_flops": 5}
    assert read_run(run).segments[0].start == read_start(run) == samples.start()
    assert read_run(run).notes == ()
    assert last_sign(run).progress.step == 21
    assert len(list(follow(run).rows())) == 2


def test_a_file_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "chips.csv"
    path.write_text("names,bf16\nMy GPU,5e12\n", encoding="utf-16")
    with pytest.raises(ArgumentError, match="in UTF-8"):
        chips_from_file(path)


@pytest.fixture
def removed_folder(tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    return folder


def test_a_working_directory_that_was_removed_is_said(removed_folder, capsys):
    with pytest.raises(ArgumentError, match="was removed"):
        files.here()
    for words in (["watch"], ["report", "."], ["report", "run.jsonl"], ["estimate", "config.json", "--seq-len", "8"]):
        assert main(words) == 1
        assert capsys.readouterr().err.count("\n") == 1


def test_a_working_directory_that_was_removed_does_not_matter_where_paths_are_whole(removed_folder, tmp_path, capsys):
    path = tmp_path / "run.jsonl"
    path.write_text("".join(to_json(each) + "\n" for each in samples.healthy_run()))
    assert not removed_folder.exists()
    assert main(["report", str(path)]) == 0
    assert "MFU" in capsys.readouterr().out
