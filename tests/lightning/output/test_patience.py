import threading
import time

import pytest

from flopwatch.lightning.output.patience import within


def test_what_comes_in_time_is_returned_and_errors_are_raised():
    assert within(5, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        within(5, divmod, 7, 0)


def test_nothing_is_waited_for_longer():
    release, began = threading.Event(), time.monotonic()
    with pytest.raises(TimeoutError, match="the disk does not respond"):
        within(0.1, release.wait, 20)
    assert time.monotonic() - began < 5
    release.set()


def test_without_threads_it_is_done_here(monkeypatch):
    def refused(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    assert within(5, threading.get_ident) == threading.get_ident()
