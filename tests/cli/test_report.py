"""`flopwatch report`, as typed."""

import json

import pytest

from flopwatch.cli.command_line import DONE, main


def test_report_in_every_form(run_file, tmp_path, capsys):
    assert main(["report", str(run_file.parent)]) == DONE
    assert "run MFU" in capsys.readouterr().out
    assert main(["report", str(run_file), "--format", "json"]) == DONE
    assert json.loads(capsys.readouterr().out)["mfu"] == pytest.approx(0.4)
    assert main(["report", str(run_file), "--format", "html"]) == DONE
    assert capsys.readouterr().out.strip() == str(run_file.with_name("report.html"))
    assert main(["report", str(run_file), "-o", str(tmp_path / "new" / "my.html")]) == DONE
    assert (tmp_path / "new" / "my.html").read_text().startswith("<!doctype html>")
    capsys.readouterr()
    assert main(["report", str(run_file), str(run_file)]) == DONE
    assert capsys.readouterr().out.count("At a glance\n") == 1


def test_a_run_file_with_absurd_times_still_opens(run_file, capsys):
    text = run_file.read_text().replace('"started_at":1000.0', '"started_at":-1e18')
    run_file.write_text(text)
    assert main(["report", str(run_file)]) == DONE
    assert "started          n/a" in capsys.readouterr().out


def test_a_work_record_that_cannot_be_read_is_said(run_file, capsys):
    lines = run_file.read_text().splitlines()
    run_file.write_text("\n".join([lines[0], lines[1][:50], *lines[2:]]) + "\n")
    assert main(["report", str(run_file)]) == DONE
    out = capsys.readouterr().out
    assert "40%" in out
    assert "the record is unreadable" in out
    assert "1 unreadable line(s)" in out


def test_bad_reports_are_one_clear_line(run_file, tmp_path, assert_known_failure):
    assert_known_failure(["report", 5000 * "x"], "found nothing at")
    assert_known_failure(["estimate", 5000 * "x", "--seq-len", "8"], "cannot read")
    assert_known_failure(["report", str(tmp_path / "no")], "found nothing at")
    assert_known_failure(["report", str(run_file), "--prefix", "x"], "expected --prefix only with --wandb")
    assert_known_failure(["report", str(run_file), "-o", str(run_file / "x.txt")], "cannot write")
    assert_known_failure(["report", str(run_file), "-o", "x.pdf"], "ending in .txt, .md, .json, .html, or --format")
