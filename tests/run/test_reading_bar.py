"""The bar of a long read."""

import io

import pytest

from flopwatch.run.reading_bar import ReadingBar, no_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def now(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("flopwatch.run.reading_bar.time.monotonic", lambda: now[0])
    return now


def test_a_bar_is_drawn_where_reading_takes_long(now):
    terminal = Terminal()
    bar = ReadingBar(terminal)
    bar("run.jsonl", 100, 1000)
    assert terminal.getvalue() == ""
    now[0] = 2.0
    bar("run.jsonl", 250, 1000)
    # A quarter took two seconds: the rest takes six.
    assert terminal.getvalue().endswith("25%, 6s left")
    bar.clear()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_nothing_is_drawn_on_anything_but_a_terminal(now):
    pipe = io.StringIO()
    bar = ReadingBar(pipe)
    now[0] = 100.0
    bar("run.jsonl", 500, 1000)
    bar.clear()
    assert pipe.getvalue() == ""


def test_a_read_that_was_quick_leaves_the_terminal_alone(now):
    terminal = Terminal()
    bar = ReadingBar(terminal)
    bar("run.jsonl", 500, 1000)
    bar.clear()
    assert terminal.getvalue() == ""


def test_it_is_drawn_five_times_a_second_and_a_third_of_it_is_ten_of_thirty(now):
    terminal = Terminal()
    bar = ReadingBar(terminal)
    for now[0] in (1.0, 1.1, 1.19, 1.21):
        bar("run.jsonl", 1, 3)
    first, second = terminal.getvalue().split("\r\x1b[K")[1:]
    assert first.startswith("reading run.jsonl " + "█" * 10 + "·" * 20 + " 33.3%")
    assert second.startswith("reading run.jsonl ")


def test_a_file_that_grows_while_it_is_read_is_no_more_than_all_of_it(now):
    terminal = Terminal()
    bar = ReadingBar(terminal)
    now[0] = 2.0
    bar("run.jsonl", 1500, 1000)
    assert terminal.getvalue().endswith("█" * 30 + " 100%, 0s left")


def test_an_empty_file_and_one_that_was_not_begun_have_no_time_left_to_tell(now):
    terminal = Terminal()
    bar = ReadingBar(terminal)
    now[0] = 2.0
    bar("run.jsonl", 0, 0)
    assert terminal.getvalue() == ""
    bar("run.jsonl", 0, 1000)
    assert terminal.getvalue().endswith("0%, n/a left")


def test_a_name_cannot_move_the_cursor(now):
    terminal = Terminal()
    bar = ReadingBar(terminal)
    now[0] = 2.0
    bar("a\x1b[2J\nb", 500, 1000)
    assert "\x1b[2J" not in terminal.getvalue()
    assert "\n" not in terminal.getvalue()


def test_who_wants_no_bar_has_none(capsys):
    no_bar("run.jsonl", 1, 2)
    assert capsys.readouterr() == ("", "")
