import logging

import pytest

from flopwatch.lightning.messages import show_messages


@pytest.fixture
def loggers(monkeypatch):
    """The package's logger and the root, with no handler yet."""

    def bare():
        ours, root = logging.getLogger("flopwatch"), logging.getLogger()
        for each in (ours, root):
            monkeypatch.setattr(each, "handlers", [])
        for name, value in (("level", logging.NOTSET), ("propagate", True)):
            monkeypatch.setattr(ours, name, value)
        return ours, root

    return bare


def test_messages_reach_a_terminal_that_nobody_set_up(loggers, capsys):
    ours, _ = loggers()
    show_messages()
    ours.info("a sentence")
    assert capsys.readouterr().err == "flopwatch: a sentence\n"
    show_messages()
    assert len(ours.handlers) == 1


def test_a_handler_of_the_users_is_enough(loggers):
    ours, root = loggers()
    root.handlers.append(logging.NullHandler())
    show_messages()
    assert ours.handlers == []


def test_the_users_level_stays(loggers):
    ours, _ = loggers()
    ours.setLevel(logging.ERROR)
    show_messages()
    assert ours.level == logging.ERROR
