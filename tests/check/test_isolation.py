"""Checks leave nothing behind."""

import contextlib
import logging
import os
import threading
import time
import warnings

import pytest
import torch

from flopwatch.check.isolation import OutOfTime, at_most, isolated, without_stderr


def test_settings_files_and_seeds_are_as_before(monkeypatch):
    monkeypatch.setenv("FLOPWATCH", "1")
    before, seeds, threads = dict(os.environ), torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(2)
    with isolated() as folder:
        (folder / "file").write_text("")
        assert "FLOPWATCH" not in os.environ
        assert os.environ["TRITON_CACHE_DIR"] == str(folder)
        os.environ["LEFT_BEHIND"] = "1"
        assert torch.get_num_threads() == 1
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(1)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    assert dict(os.environ) == before
    assert not folder.exists()
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.get_rng_state(), seeds)


def test_nothing_is_logged_or_warned(caplog, recwarn):
    with isolated():
        logging.getLogger("pytorch_lightning").warning("chatter")
        warnings.warn("chatter", stacklevel=1)
    assert caplog.records == []
    assert list(recwarn) == []
    logging.getLogger("flopwatch").warning("heard again")
    assert [each.message for each in caplog.records] == ["heard again"]


def test_an_error_puts_everything_back():
    before = dict(os.environ)
    with pytest.raises(ZeroDivisionError), isolated():
        raise ZeroDivisionError
    assert dict(os.environ) == before


def test_what_takes_too_long_is_ended_also_where_errors_are_caught():
    began = time.monotonic()
    with pytest.raises(OutOfTime), at_most(0.05), contextlib.suppress(Exception):
        time.sleep(10)
    assert time.monotonic() - began < 5


def test_what_ends_in_time_is_left_alone():
    with at_most(0.05):
        pass
    time.sleep(0.1)


def test_on_another_thread_there_is_no_limit():
    done = []

    def run():
        with at_most(0.01):
            time.sleep(0.05)
            done.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert done == [True]


def test_what_c_writes_to_stderr_is_dropped(capfd):
    with without_stderr():
        os.write(2, b"from C++")
    os.write(2, b"from Python")
    assert capfd.readouterr().err == "from Python"
