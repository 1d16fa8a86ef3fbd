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


class Ended:
    """A run that has ended without a window."""

    budgets, ended = (), True

    def rows(self):
        return iter(())


def test_on_a_terminal_a_w_and_b_run_is_charts_where_wandb_can_and_else_says_what_they_need(
    tmp_path, monkeypatch, capsys
):
    for each in (cli.sys.stdout, cli.sys.stdin):
        monkeypatch.setattr(each, "isatty", lambda: True, raising=False)
    log, shown = tmp_path / "run-a.wandb", []
    monkeypatch.setattr("flopwatch.report.tail.follow", lambda path: Ended())
    log.write_bytes(b":W&B\xe1\xbe\x00")
    monkeypatch.setattr(leet, "show", shown.append)
    monkeypatch.setattr(leet, "available", lambda: True)
    assert main(["watch", str(log)]) == 0
    assert shown == [log]

    monkeypatch.setattr(leet, "available", lambda: False)
    assert main(["watch", str(log)]) == 0
    assert "no charts: they need wandb 0.29 or newer" in capsys.readouterr().err
    assert main(["watch", str(log), "--table"]) == 0
    assert "no charts" not in capsys.readouterr().err
    assert shown == [log]
