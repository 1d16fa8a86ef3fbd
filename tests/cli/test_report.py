"""`flopwatch report`, as typed."""

import json

import pytest

from flopwatch.cli.command_line import DONE, main
from tests import samples
from tests.run.test_run_file import write


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


def test_of_a_folder_with_several_runs_it_says_which_one_it_took(tmp_path, capsys):
    for name in ("a", "b"):
        write(tmp_path / name / "run.jsonl", samples.healthy_run())
    assert main(["report", str(tmp_path)]) == DONE
    captured = capsys.readouterr()
    assert f"`flopwatch ls {tmp_path}` lists all" in captured.err
    assert "took the newest" not in captured.out


def test_a_run_file_with_absurd_times_still_opens(run_file, capsys):
    text = run_file.read_text().replace('"started_at":1000.0', '"started_at":-1e18')
    run_file.write_text(text)
    assert main(["report", str(run_file)]) == DONE
    assert "started          n/a" in capsys.readouterr().out


def test_what_is_looked_up_is_in_a_terminal_on_demand_and_in_a_file_always(run_file, tmp_path, capsys):
    for arguments in ((), ("--full",), ("-o", str(tmp_path / "a.txt"))):
        assert main(["report", str(run_file), *arguments]) == DONE
    short, full = capsys.readouterr().out.split("GPT\n===\n")[1:]
    assert "Definitions\n----" not in short
    assert "Definitions\n----" in full
    assert "Definitions\n----" in (tmp_path / "a.txt").read_text()


def test_a_terminals_width_is_kept(run_file, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    assert main(["report", str(run_file)]) == DONE
    assert main(["report", str(run_file), str(run_file)]) == DONE
    assert max(len(line) for line in capsys.readouterr().out.splitlines()) <= 50


def test_a_work_record_that_cannot_be_read_is_said(run_file, capsys):
    lines = run_file.read_text().splitlines()
    run_file.write_text("\n".join([lines[0], lines[1][:50], *lines[2:]]) + "\n")
    assert main(["report", str(run_file)]) == DONE
    out = capsys.readouterr().out
    assert "40%" in out
    assert "the record is unreadable" in " ".join(out.split())
    assert "1 unreadable line(s)" in out


def test_bad_reports_are_one_clear_line(run_file, tmp_path, assert_known_failure):
    assert_known_failure(["report", 5000 * "x"], "found nothing at")
    assert_known_failure(["estimate", 5000 * "x", "--seq-len", "8"], "cannot read")
    assert_known_failure(["report", str(tmp_path / "no")], "found nothing at")
    assert_known_failure(["report", str(run_file), "--prefix", "x"], "expected --prefix only with --wandb")
    assert_known_failure(["report", str(run_file), "-o", str(run_file / "x.txt")], "cannot write")
    assert_known_failure(["report", str(run_file), "-o", "x.pdf"], "ending in .txt, .md, .json, .html, or --format")


@pytest.mark.parametrize(
    ("ending", "begins"), [("md", "# GPT"), ("JSON", "{"), ("txt", "GPT\n==="), ("html", "<!doctype")]
)
def test_the_ending_of_the_file_is_its_form(run_file, tmp_path, ending, begins):
    page = tmp_path / f"page.{ending}"
    assert main(["report", str(run_file), "-o", str(page)]) == DONE
    assert page.read_text().startswith(begins)


def test_a_form_that_was_asked_for_goes_before_the_ending(run_file, tmp_path):
    assert main(["report", str(run_file), "-o", str(tmp_path / "a.txt"), "--format", "json"]) == DONE
    assert json.loads((tmp_path / "a.txt").read_text())["step"] == 21


def test_a_file_that_the_user_chose_is_written_through_its_link_and_the_usual_one_is_not(run_file, tmp_path):
    (tmp_path / "kept.html").write_text("kept")
    (tmp_path / "mine.html").symlink_to(tmp_path / "kept.html")
    run_file.with_name("report.html").symlink_to(tmp_path / "other.html")
    (tmp_path / "other.html").write_text("stays")
    assert main(["report", str(run_file), "-o", str(tmp_path / "mine.html")]) == DONE
    assert (tmp_path / "kept.html").read_text().startswith("<!doctype")
    assert main(["report", str(run_file), "--format", "html"]) == DONE
    assert (tmp_path / "other.html").read_text() == "stays"


def test_a_run_that_is_named_twice_is_one_and_that_is_said(run_file, capsys):
    assert main(["report", str(run_file), str(run_file.parent), "--format", "json"]) == DONE
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)["runs"]) == 1
    assert "skipped runs named twice" in printed.err
