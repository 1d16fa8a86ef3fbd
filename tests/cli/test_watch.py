"""`flopwatch watch`, as typed; what it shows of a run is tested in `report/test_tail.py`."""

import pytest

from flopwatch.cli import main
from flopwatch.cli import watch as cli
from flopwatch.wandb import leet
from tests import samples
from tests.run.test_run_file import write


@pytest.mark.parametrize("every", ["0", "-1", "nan", "inf", "1e300"])
def test_a_senseless_pace_is_refused(run_file, every, capsys):
    assert main(["watch", str(run_file), "--every", every]) == 1
    assert "expected a number of seconds above 0 and at most 3600 for --every" in capsys.readouterr().err


def test_a_run_that_ended_without_rows_of_ours_says_so(tmp_path, capsys):
    path = write(tmp_path / "run.jsonl", [samples.start(), samples.end()])
    assert main(["watch", str(path)]) == 0
    assert "flopwatch logged no window" in capsys.readouterr().err


@pytest.fixture
def on_terminal(monkeypatch):
    """Called within a test: only then are its streams those that the command sees."""

    def pretend():
        for each in (cli.sys.stdout, cli.sys.stdin):
            monkeypatch.setattr(each, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(leet, "terminal_size", lambda: (80, 24))

    return pretend


def test_on_a_terminal_there_are_charts_and_on_request_a_table(run_file, on_terminal, capsys):
    on_terminal()
    assert main(["watch", str(run_file)]) == 0
    shown = capsys.readouterr().out.rpartition(cli._CLEAR)[2].splitlines()
    assert shown[0].endswith("run.jsonl, step 21")
    assert len(shown) < 24
    assert all(len(line) <= 80 for line in shown)
    assert any(line.startswith("MFU ") and "40%" in line for line in shown)
    assert main(["watch", str(run_file), "--table"]) == 0
    assert "highest" in capsys.readouterr().out
    assert main(["watch", str(run_file), "--table", "--leet"]) == 2


def test_the_charts_of_w_and_b_are_there_on_request(tmp_path, monkeypatch, on_terminal, assert_known_failure):
    on_terminal()
    log, shown = tmp_path / "run-a.wandb", []
    log.write_bytes(b":W&B\xe1\xbe\x00")
    monkeypatch.setattr(leet, "show", shown.append)
    monkeypatch.setattr(leet, "available", lambda: True)
    assert main(["watch", str(log), "--leet"]) == 0
    assert shown == [log]
    monkeypatch.setattr(leet, "available", lambda: False)
    assert_known_failure(["watch", str(log), "--leet"], "--leet needs wandb 0.29 or newer")


def test_w_and_bs_charts_are_of_its_own_runs_and_need_a_terminal(run_file, tmp_path, assert_known_failure):
    assert_known_failure(["watch", str(run_file), "--leet"], "expected a W&B run with --leet")
    log = tmp_path / "run-a.wandb"
    log.write_bytes(b":W&B\xe1\xbe\x00")
    assert_known_failure(["watch", str(log), "--leet"], "expected a terminal with --leet")


def test_a_folder_of_several_says_which_one_it_took(tmp_path, capsys):
    for name in ("a", "b"):
        write(tmp_path / name / "run.jsonl", [samples.start(), samples.end()])
    assert main(["watch", str(tmp_path)]) == 0
    assert f"`flopwatch ls {tmp_path}` lists all" in capsys.readouterr().err
    assert main(["watch", str(tmp_path / "a")]) == 0
    assert "took" not in capsys.readouterr().err


def test_a_screen_is_drawn_anew_only_when_something_is_new(monkeypatch, capsys):
    """Three looks at a run: a window, nothing, nothing but another size of the terminal; then its end."""
    looks = iter([[{"perf/mfu": 0.4}], [], [], []])
    sizes = iter([(80, 24), (80, 24), (100, 30), (100, 30)])

    class Run:
        budgets = ()
        looked = 0

        @property
        def ended(self):
            return self.looked == 4

        def rows(self):
            self.looked += 1
            return iter(next(looks))

    drawn = []
    monkeypatch.setattr(leet, "terminal_size", lambda: next(sizes))
    monkeypatch.setattr(cli.time, "sleep", lambda seconds: None)
    cli._show_numbers(Run(), "a run", 2.0, lambda rows, title, *size: drawn.append(size[:2]) or "")
    assert drawn == [(80, 24), (100, 30)]
