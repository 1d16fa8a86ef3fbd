import logging

import pytest

from flopwatch.lightning.messages import show_messages

OURS, ROOT = logging.getLogger("flopwatch"), logging.getLogger()


def untouched(monkeypatch):
    """Make our logger and the root as nobody has set them up; called in a test, since pytest adds handlers of its own."""
    for each in (OURS, ROOT):
        monkeypatch.setattr(each, "handlers", [])
    for name, value in (("level", logging.NOTSET), ("propagate", True)):
        monkeypatch.setattr(OURS, name, value)


def test_where_nobody_handles_them_our_messages_are_shown_once_with_our_name(monkeypatch):
    untouched(monkeypatch)
    for _ in range(2):
        show_messages()
    (handler,) = OURS.handlers
    assert handler.format(logging.LogRecord("flopwatch", logging.INFO, "", 1, "hello", (), None)) == "flopwatch: hello"
    assert (OURS.level, OURS.propagate) == (logging.INFO, False)


@pytest.mark.parametrize("logger", [OURS, ROOT], ids=["ours", "root"])
def test_a_user_who_handles_them_gets_them_as_they_come(monkeypatch, logger):
    untouched(monkeypatch)
    users = logging.NullHandler()
    logger.handlers.append(users)
    show_messages()
    assert [*OURS.handlers, *ROOT.handlers] == [users]
    assert (OURS.level, OURS.propagate) == (logging.NOTSET, True)


def test_a_level_that_the_user_set_stays(monkeypatch):
    untouched(monkeypatch)
    monkeypatch.setattr(OURS, "level", logging.ERROR)
    show_messages()
    assert OURS.level == logging.ERROR
