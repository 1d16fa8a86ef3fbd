"""Which processes of a run did work in vain, told from their files; every number by hand."""

import os
import shutil
import time
from dataclasses import replace

import pytest

from flopwatch.run import lineage
from flopwatch.run.counts import Counts
from flopwatch.run.lineage import last_sign, totals_at_checkpoint, trace_back
from flopwatch.run.record_lines import to_json
from flopwatch.run.records import Checkpoint, End, Progress, Totals, Window
from flopwatch.run.run_file import progress_path, read_run
from tests import samples

BEGAN = 1000.0


def totals(steps, lost=0):
    return Totals(Counts(100 * steps, steps=steps, batches=steps), seconds=1.0 * (steps + lost), lost_steps=lost)


class Folder:
    """Run files of one run, each in a folder of its own, as processes leave them behind."""

    def __init__(self, path):
        self.path = path
        self.own = path / "own" / "run.jsonl"

    def file(self, name):
        return self.path / name / "run.jsonl"

    def process(self, name, since, until, *, at, came_from=None, lost=0, lost_files=(), started_at=BEGAN, ended=True):
        """A process that went on from one step to another at a time, and ended or was killed."""
        path = self.file(name)
        path.parent.mkdir()
        start = samples.start(
            time=at,
            started_at=started_at,
            step=since,
            totals=totals(since, lost),
            resumed_from=None if came_from is None else str(self.file(came_from)),
            lost_files=tuple(str(self.file(each)) for each in lost_files),
        )
        lines = [start]
        if ended:
            lines.append(End("finished", at + 10, until, totals(until, lost), {}))
        else:
            progress_path(path).write_text(to_json(Progress(at + 10, until, totals(until, lost))) + "\n")
            os.utime(progress_path(path), (at, at))
        path.write_text("".join(to_json(each) + "\n" for each in lines))
        return path

    def look(self, named):
        return trace_back(str(self.file(named)), BEGAN, self.own)

    def lost(self, named):
        return [each.path.parent.name for each in self.look(named).lost]


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_a_branch_that_saved_checkpoints_and_was_given_up_is_lost_with_all_its_processes(folder):
    # P saved after step 7; A went on from there and saved after 14, B from that one; now P's is gone on from again.
    folder.process("P", 0, 9, at=1000.0)
    folder.process("A", 7, 16, at=1100.0, came_from="P", lost=2, ended=False)
    folder.process("B", 14, 17, at=1200.0, came_from="A", lost=4)
    found = folder.look("P")
    assert folder.lost("P") == ["A", "B"]
    assert found.doubts == ()
    assert (found.before.path, found.before.last.progress.step) == (folder.file("P"), 9)
    # Done in vain: 16 - 7 and 17 - 14.
    assert [each.last.progress.totals.counts.steps - each.start.totals.counts.steps for each in found.lost] == [9, 3]


def test_what_an_earlier_process_counted_as_lost_is_not_lost_again(folder):
    # After P, A was given up for C, and then C for D: A is C's loss, C that of the next one.
    folder.process("P", 0, 9, at=1000.0)
    folder.process("A", 7, 16, at=1100.0, came_from="P")
    folder.process("C", 7, 12, at=1200.0, came_from="P", lost_files=["A"])
    assert folder.lost("C") == []
    assert folder.lost("P") == ["A", "C"]
    # A's checkpoint is gone on from after all: C is in vain, and what came to A before is not.
    assert folder.lost("A") == ["C"]


def test_a_run_that_began_from_nothing_or_still_runs_is_another_one(folder, monkeypatch):
    folder.process("P", 0, 9, at=1000.0)
    folder.process("again", 0, 9, at=1100.0, started_at=1100.0)
    running = folder.process("running", 7, 9, at=1200.0, came_from="P", ended=False)
    monkeypatch.setattr(lineage, "_exists", lambda pid: True)
    os.utime(progress_path(running))
    assert folder.lost("P") == []
    # Its progress is of another hour, and a clock that was set back makes that one to come.
    for hour in (-3600, 3600):
        os.utime(progress_path(running), (time.time() + hour, time.time() + hour))
        assert folder.lost("P") == ["running"]


def test_a_missing_file_makes_it_unknown(folder):
    folder.process("P", 0, 9, at=1000.0)
    middle = folder.process("A", 7, 16, at=1100.0, came_from="P")
    folder.process("B", 14, 17, at=1200.0, came_from="A")
    middle.unlink()
    assert folder.look("P").doubts == (f"the run file {middle} of a process in between is missing or unreadable",)
    # Where B has counted it already, or is gone on from, nothing is missing.
    assert folder.look("B").doubts == ()
    folder.file("P").unlink()
    assert "of the previous process is missing" in folder.look("P").doubts[0]


def test_a_damaged_file_beside_makes_it_unknown(folder):
    folder.process("P", 0, 9, at=1000.0)
    damaged = folder.process("A", 7, 16, at=1100.0, came_from="P")
    damaged.write_bytes(b"\0" * 100)
    assert folder.look("P").doubts == (f"cannot read {damaged} in the same folder",)
    damaged.write_bytes(b"")  # killed before its first record, so it did nothing
    assert folder.look("P").doubts == ()


def test_what_began_before_a_process_whose_parent_is_gone_was_counted_by_it(folder):
    first = folder.process("P", 0, 9, at=1000.0)
    folder.process("A", 7, 16, at=1100.0, came_from="P")
    folder.process("C", 7, 12, at=1200.0, came_from="P", lost_files=["A"])
    folder.process("D", 12, 15, at=1300.0, came_from="C")
    first.unlink()
    assert folder.lost("C") == ["D"]
    folder.file("C").unlink()
    assert folder.lost("D") == []


def test_a_folder_that_was_moved_or_copied_counts_everyone_once(folder, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    inside = Folder(home)
    inside.process("P", 0, 9, at=1000.0)
    inside.process("A", 7, 16, at=1100.0, came_from="P")
    inside.process("C", 7, 12, at=1200.0, came_from="P", lost_files=["A"])
    shutil.copytree(home, tmp_path / "copy")
    copied = Folder(tmp_path / "copy")
    assert [each.path.parent.name for each in trace_back(str(inside.file("C")), BEGAN, copied.own).lost] == []
    assert [each.path.parent.name for each in trace_back(str(inside.file("P")), BEGAN, copied.own).lost] == ["A", "C"]
    shutil.rmtree(home)
    assert [each.path.parent.name for each in trace_back(str(inside.file("C")), BEGAN, copied.own).lost] == []
    assert [each.path.parent.name for each in trace_back(str(inside.file("P")), BEGAN, copied.own).lost] == ["A", "C"]


def test_every_start_is_read_once(folder, monkeypatch):
    folder.process("P", 0, 9, at=1000.0)
    for number in range(20):
        folder.process(f"A{number}", 7, 9, at=1100.0 + number, came_from="P")
    read = []
    monkeypatch.setattr(lineage, "read_start", lambda path, real=lineage.read_start: read.append(path) or real(path))
    assert len(folder.look("P").lost) == 20
    assert len(read) == len(set(read)) == 21


def test_more_files_than_are_looked_at_are_said(folder, monkeypatch):
    folder.process("P", 0, 9, at=1000.0)
    folder.process("A", 7, 9, at=1100.0, came_from="P")
    monkeypatch.setattr(lineage, "_MOST_FILES", 1)
    assert folder.look("P").doubts == ("more than 1 run files are in the same folder",)


def test_the_last_sign_says_where_there_may_have_been_more(tmp_path):
    path = tmp_path / "run.jsonl"
    start, window, end = samples.start(), samples.window(11, 1020.0), samples.end()
    window = replace(window, totals=replace(window.totals, counts=Counts(batches=5)))
    assert isinstance(window, Window)

    def write(*records):
        path.write_text("".join(to_json(each) + "\n" for each in records))
        return last_sign(path)

    assert (write(start).progress.step, write(start).doubt) == (start.step, None)
    assert (write(start, window, end).ended, write(start, window, end).doubt) == (True, None)
    assert write(start, window).doubt.endswith("is missing, which records what its process did after its last window")
    assert "may have continued" in write(start, window, replace(end, status="measuring stopped")).doubt
    # A progress that is behind the window was written while that was closed.
    behind = Progress(window.ended_at + 1, window.step - 1, replace(window.totals, counts=Counts(batches=4)))
    progress_path(path).write_text(to_json(behind) + "\n")
    assert (write(start, window).progress.step, write(start, window).doubt) == (window.step, None)


def test_totals_at_a_checkpoint_are_those_of_its_step_and_the_last_ones(tmp_path):
    path = tmp_path / "run.jsonl"
    earlier, later = (samples.totals(4, 1010.0, flops) for flops in (100, 200))
    records = [samples.start(), Checkpoint(2, earlier), Checkpoint(4, earlier), Checkpoint(4, later), samples.end()]
    path.write_text("".join(to_json(record) + "\n" for record in records))
    assert totals_at_checkpoint(path, 4) == later
    assert totals_at_checkpoint(path, 2) == earlier
    assert totals_at_checkpoint(path, 3) is None
    assert totals_at_checkpoint(tmp_path / "none.jsonl", 4) is None
    assert read_run(path).segments[0].end is not None
