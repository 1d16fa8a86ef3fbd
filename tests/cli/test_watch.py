"""`flopwatch watch`, as typed; what it shows of a run is tested in `report/test_tail.py`."""

import pytest

from flopwatch.cli import main
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
