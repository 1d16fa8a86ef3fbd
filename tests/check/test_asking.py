"""Questions on another thread."""

import threading

import pytest

from flopwatch.check import asking
from flopwatch.check.asking import Asked
from flopwatch.errors import DriverError


def test_an_answer_comes_from_another_thread():
    assert Asked(threading.get_ident).answer() != threading.get_ident()


def test_an_error_is_the_askers():
    with pytest.raises(ZeroDivisionError):
        Asked(lambda: 1 / 0).answer()


def test_what_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(asking, "LONGEST_SECONDS", 0.05)
    never = threading.Event()
    with pytest.raises(DriverError, match="expected an answer of the NVIDIA driver within 0 s, got none"):
        Asked(never.wait).answer()
    never.set()
