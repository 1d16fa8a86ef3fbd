import errno
import os

import pytest

from flopwatch.files import read_text, replace_text


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
        with pytest.raises(OSError, match="expected a file, it is no plain one"):
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
