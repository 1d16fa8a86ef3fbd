"""Files from elsewhere and beside them: how much of them is read, how they are put in a place, and where they are."""

import errno
import json
import os

import pytest

from flopwatch import files
from flopwatch.cli.command_line import main
from flopwatch.errors import ArgumentError
from flopwatch.files import read_text, replace_text
from flopwatch.hardware.user_chips import chips_from_file
from flopwatch.model.families import architecture_of
from flopwatch.report.plan import read_plan
from flopwatch.report.tail import follow
from flopwatch.run.lineage import last_sign
from flopwatch.run.record_lines import to_json
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


def test_a_file_of_as_many_bytes_as_are_allowed_is_read(tmp_path):
    # "é" is two bytes of UTF-8, so "café" is five.
    (tmp_path / "a").write_text("café", encoding="utf-8")
    assert read_text(tmp_path / "a", 5) == "café"
    with pytest.raises(OSError, match="larger than 4 bytes") as raised:
        read_text(tmp_path / "a", 4)
    assert raised.value.errno == errno.EFBIG


def test_how_much_is_too_much_is_said_with_commas(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 1001)
    with pytest.raises(OSError, match="larger than 1,000 bytes"):
        read_text(tmp_path / "a", 1000)


def test_what_is_no_plain_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="expected a regular file"):
            read_text(path, 10)


def test_what_is_missing_or_no_text_is_an_error_of_its_kind(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "none", 10)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(UnicodeDecodeError):
        read_text(tmp_path / "bytes", 10)


def test_a_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it(tmp_path):
    (tmp_path / "a").write_text("a long text that was there before")
    replace_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "elsewhere").write_text("stays")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    replace_text(tmp_path / "link", "new")
    assert (tmp_path / "elsewhere").read_text() == "stays"
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "link").read_text() == "new"


def test_a_link_that_waits_where_the_new_file_is_made_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_text("stays")
    (tmp_path / f".a.{os.getpid()}.new").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        replace_text(tmp_path / "a", "new")
    assert (tmp_path / "elsewhere").read_text() == "stays"
    # What was in the way is gone, so the next time works.
    replace_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"


def test_where_it_cannot_be_put_nothing_is_left(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        replace_text(tmp_path / "folder", "text")
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_half_of_a_character_does_not_stop_the_rest(tmp_path):
    replace_text(tmp_path / "a", "one \ud800 two")
    assert (tmp_path / "a").read_text() == "one ? two"
