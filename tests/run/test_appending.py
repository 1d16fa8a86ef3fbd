"""Lines that are appended to a file that others remove, replace and cut."""

import errno
import os

import pytest

from flopwatch.run.appending import AppendedFile


def another(path):
    return path.with_name(f"another-{path.name}")


@pytest.fixture
def opened(tmp_path):
    file = AppendedFile(tmp_path / "runs" / "run.jsonl", another, lambda: b"head\n")
    file.open()
    yield file
    file.close()


def test_a_file_is_made_with_its_folders_and_holds_what_is_appended(opened):
    opened.append(b"one\n")
    opened.append(b"two\n")
    assert opened.is_open
    assert opened.path.read_bytes() == b"one\ntwo\n"
    assert opened.mend() is None, "nothing was wrong"


def test_a_file_that_is_there_already_is_left_as_it_is(tmp_path):
    (tmp_path / "run.jsonl").write_text("somebody's")
    file = AppendedFile(tmp_path / "run.jsonl", another, bytes)
    file.open()
    assert file.path == tmp_path / "another-run.jsonl"
    assert (tmp_path / "run.jsonl").read_text() == "somebody's"
    file.close()


def test_a_file_in_the_place_of_the_folder_is_an_error_that_says_so(tmp_path):
    (tmp_path / "runs").touch()
    with pytest.raises(NotADirectoryError) as raised:
        AppendedFile(tmp_path / "runs" / "run.jsonl", another, bytes).open()
    assert raised.value.errno == errno.ENOTDIR


def test_a_line_of_which_only_a_part_could_be_written_is_taken_back(opened, monkeypatch):
    opened.append(b"one\n")
    real, parts = opened._file, [2]

    class Full:
        """A disk that takes two bytes and then no more."""

        def write(self, data):
            if not parts:
                raise OSError(errno.ENOSPC, "no space")
            return real.write(data[: parts.pop()])

        def __getattr__(self, name):
            return getattr(real, name)

    opened._file = Full()
    with pytest.raises(OSError, match="no space"):
        opened.append(b"two\n")
    opened._file = real
    assert opened.path.read_bytes() == b"one\n"


def test_a_half_line_of_somebody_else_is_ended_before_ours_begins(opened):
    opened.append(b"one\n")
    with opened.path.open("ab") as file:
        file.write(b"half")
    opened.append(b"two\n")
    assert opened.path.read_bytes() == b"one\nhalf\ntwo\n"


def test_a_file_that_was_removed_is_made_again_with_all_that_was_in_it(opened):
    opened.append(b"head\n")
    opened.append(b"one\n")
    opened.path.unlink()
    assert opened.mend() == "was removed; recreated with all its records"
    opened.append(b"two\n")
    assert opened.path.read_bytes() == b"head\none\ntwo\n"


def test_a_copy_in_its_place_is_gone_on_with(opened):
    opened.append(b"head\n")
    opened.append(b"one\n")
    copy = opened.path.with_name("copy")
    copy.write_bytes(b"head\none\n")
    opened.append(b"two\n")
    copy.replace(opened.path)
    assert opened.mend() == "was replaced by a copy; new records go there"
    opened.append(b"three\n")
    assert opened.path.read_bytes() == b"head\none\ntwo\nthree\n"


def test_a_stranger_in_its_place_is_not_touched(opened):
    opened.append(b"head\n")
    opened.append(b"one\n")
    stranger = opened.path.with_name("stranger")
    stranger.write_bytes(b"something else\n")
    old = opened.path
    stranger.replace(old)
    assert opened.mend() == f"was replaced by something else; all records are in {another(old)}"
    opened.append(b"two\n")
    assert old.read_bytes() == b"something else\n"
    assert opened.path.read_bytes() == b"head\none\ntwo\n"


def test_a_link_in_its_place_is_not_followed(opened, tmp_path):
    opened.append(b"head\n")
    opened.append(b"one\n")
    (tmp_path / "elsewhere").write_bytes(b"head\none\n")
    opened.path.unlink()
    opened.path.symlink_to(tmp_path / "elsewhere")
    assert "was replaced by something else" in opened.mend()
    assert (tmp_path / "elsewhere").read_bytes() == b"head\none\n"


def test_a_file_that_was_cut_short_can_still_be_read(opened):
    opened.append(b"head\n")
    opened.append(b"one\n")
    os.truncate(opened.path, 0)
    assert opened.mend() == "was truncated; what was cut off is lost, new records are appended"
    opened.append(b"two\n")
    assert opened.path.read_bytes() == b"head\ntwo\n"


@pytest.mark.parametrize(
    ("left", "found"),
    [
        # At a line's end, within a line, and within the first one, without which nothing can be read.
        (b"head\none\n", b"head\none\nthree\n"),
        (b"head\none\ntw", b"head\none\ntw\nthree\n"),
        (b"he", b"head\nthree\n"),
    ],
)
def test_a_file_that_was_cut_anywhere_has_one_head(opened, left, found):
    for line in (b"head\n", b"one\n", b"two\n"):
        opened.append(line)
    os.truncate(opened.path, len(left))
    assert "was truncated" in opened.mend()
    opened.append(b"three\n")
    assert opened.path.read_bytes() == found


def test_a_file_that_was_emptied_and_then_removed_has_its_head(opened):
    opened.append(b"head\n")
    opened.append(b"one\n")
    os.truncate(opened.path, 0)
    opened.path.unlink()
    assert "was removed" in opened.mend()
    opened.append(b"two\n")
    assert opened.path.read_bytes() == b"head\ntwo\n"


def test_a_file_that_was_removed_before_its_first_line_has_that_once(opened):
    opened.path.unlink()
    assert "was removed" in opened.mend()
    opened.append(b"head\n")
    assert opened.path.read_bytes() == b"head\n"


def test_a_copy_that_somebody_wrote_to_gets_what_it_lacks(opened):
    for line in (b"head\n", b"one\n", b"two\n"):
        opened.append(line)
    copy = opened.path.with_name("copy")
    copy.write_bytes(b"head\none\nsomebody's")
    copy.replace(opened.path)
    assert "was replaced by a copy" in opened.mend()
    opened.append(b"three\n")
    assert opened.path.read_bytes() == b"head\none\nsomebody's\ntwo\nthree\n"


def test_half_a_line_that_could_not_be_taken_back_is_ended_before_the_next_try(opened):
    opened.append(b"head\n")
    with opened.path.open("ab") as file:
        file.write(b"on")  # as a write leaves it of which neither the rest nor the way back was possible
    opened.path.rename(opened.path.with_name("elsewhere"))
    opened.mend()
    opened.append(b"one\n")
    assert opened.path.read_bytes() == b"head\non\none\n"


def test_the_first_line_is_first_whatever_somebody_left_there(opened):
    opened.path.write_bytes(b"\n")
    opened.append(b"head\n")
    assert opened.path.read_bytes() == b"head\n"
