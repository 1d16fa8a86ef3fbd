"""Errors of one base, in one line, whatever they are made of."""

import inspect

import pytest

from flopwatch import errors
from flopwatch.errors import ConfigError, FlopwatchError, UnknownModelError, in_one_line, in_words


class Mute(Exception):
    def __str__(self):
        raise ValueError


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("one\ntwo\x1b[2J  three"), "ValueError: one two [2J three"),
        (ValueError(), "ValueError"),
        (Mute(), "Mute: which cannot say why"),
        # As what wraps another error and says its kind already.
        (RuntimeError("RuntimeError: once"), "RuntimeError: once"),
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
    ],
)
def test_an_error_is_one_line_that_says_its_kind_once(error, words):
    assert in_words(error) == words


def test_a_long_text_is_cut_between_words():
    # 20 characters hold four words of four letters and the spaces between them, and the fifth not.
    assert in_one_line("word " * 10, 20) == "word word word word ..."
    assert in_one_line("word word word word", 19) == "word word word word"
    assert in_one_line("w" * 30, 20) == f"{'w' * 20} ..."


ALL = [each for _, each in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)
def test_every_error_is_caught_by_one_name_and_says_what_it_was_told(error):
    assert issubclass(error, FlopwatchError)
    assert str(error("expected a number, got 'x'")) == "expected a number, got 'x'"


def test_an_unknown_model_is_a_config_that_may_be_measured_unless_it_says_otherwise():
    assert issubclass(UnknownModelError, ConfigError)
    assert UnknownModelError("no such model").measurable
    assert not UnknownModelError("two models in one", measurable=False).measurable
