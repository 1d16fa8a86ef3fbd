"""What the writing thread survives: disks that fill, hang or vanish, files that others touch, threads that are none."""

import contextlib
import os
import shutil
import subprocess
import threading
import time

import pytest

from flopwatch.run import run_file_writer as runfile_writer
from flopwatch.run.appending import AppendedFile
from flopwatch.run.lineage import last_sign
from flopwatch.run.record_lines import to_json
from flopwatch.run.run_file import new_run_file, progress_path, read_run, record_beside
from flopwatch.run.run_file_writer import RunFileWriter
from tests import samples
from tests.run.test_run_file import write

WINDOWS = [samples.window(step, 1000.0 + step) for step in range(1, 41)]


def test_a_disk_that_cannot_be_written_costs_the_file_alone(tmp_path, caplog):
    (tmp_path / "taken").write_text("a file where a folder should be")
    writer = RunFileWriter(tmp_path / "taken" / "run.jsonl")
    for _ in range(1000):
        writer.write(samples.start())
    assert not writer.close()
    assert caplog.text.count("no run file: ") == 1
    assert "training continues" in caplog.text


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for 64 KiB, of which a filler takes all but a few bytes until it is deleted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk]).returncode:
        pytest.skip("a small disk needs the right to mount one")
    filler = disk / "filler"
    try:
        filler.write_bytes(bytes(60 * 1024))
        yield disk, filler
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def wait_until(true, seconds=10):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_disk_that_was_full_for_a_while_costs_no_record(small_disk, caplog, monkeypatch):
    disk, filler = small_disk
    caplog.set_level("INFO")
    monkeypatch.setattr(runfile_writer, "_RETRY_SECONDS", 0.1)
    writer = RunFileWriter(disk / "run.jsonl")
    records = [samples.start(), *(samples.window(step, 1000.0 + step) for step in range(1, 41))]
    for record in records[:20]:
        writer.write(record)
    wait_until(lambda: "cannot write the run file" in caplog.text)
    # What is there can be read meanwhile: no line is cut.
    assert (disk / "run.jsonl").read_bytes()[-1:] in (b"", b"\n")
    for record in records[20:30]:
        writer.write(record)
    filler.unlink()
    wait_until(lambda: "writing the run file again" in caplog.text)
    for record in records[30:]:
        writer.write(record)
    assert writer.close()
    (segment,) = read_run(disk / "run.jsonl").segments
    assert [window.step for window in segment.windows] == list(range(1, 41))
    assert caplog.text.count("cannot write the run file") == 1
    assert caplog.text.count("No space left on device; retrying, training continues") == 1


def test_an_end_that_the_file_has_no_room_for_stands_beside_it(small_disk, tmp_path):
    disk, filler = small_disk
    filler.write_bytes(bytes(48 * 1024))
    path = disk / "run.jsonl"
    writer = RunFileWriter(path, lambda: samples.progress(1))
    writer.write(samples.start())
    wait_until(lambda: progress_path(path).exists() and path.read_bytes().count(b"\n") == 1)
    with contextlib.suppress(OSError), (disk / "more").open("ab", buffering=0) as more:
        while more.write(bytes(512)):
            pass
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as same:
        while same.write(b"\n"):  # the rest of its last page
            pass
    for record in (*WINDOWS, samples.end()):
        writer.write(record)
    assert not writer.close()
    run = read_run(path)
    (segment,) = run.segments
    assert (segment.windows, segment.end) == ((), samples.end())
    assert run.notes[0] == "the last records of run.jsonl are missing; its totals are from run.progress"
    sign = last_sign(path)
    assert (sign.ended, sign.progress.totals) == (True, samples.end().totals)


def test_a_disk_that_stays_full_costs_the_file_and_no_memory_without_end(small_disk, caplog, monkeypatch):
    monkeypatch.setattr(runfile_writer, "_MOST_WAITING", 100)
    disk, _ = small_disk
    (disk / "more").touch()
    with contextlib.suppress(OSError), (disk / "more").open("ab", buffering=0) as more:
        while more.write(b"x"):
            pass
    writer = RunFileWriter(disk / "run.jsonl")
    records = [samples.start(), *(samples.window(step, 1000.0 + step) for step in range(1, 501))]
    for record in records:
        writer.write(record)
    assert not writer.close()
    assert list(writer._waiting) == [records[0], *records[-99:]]
    assert caplog.text.count("cannot write the run file") == 1


def test_writing_never_waits_for_the_disk(tmp_path, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(runfile_writer, "to_json", lambda record: release.wait(10) and to_json(record))
    writer = RunFileWriter(tmp_path / "run.jsonl")
    for record in samples.healthy_run():
        writer.write(record)
    assert not (tmp_path / "run.jsonl").exists() or (tmp_path / "run.jsonl").read_text() == ""
    release.set()
    assert writer.close()


def steps_in(path):
    (segment,) = read_run(path).segments
    return [window.step for window in segment.windows]


def written_half(path, caplog, count=20):
    """A writer that has written a start and the first windows."""
    caplog.set_level("INFO")
    writer = RunFileWriter(path)
    for record in (samples.start(), samples.WORK, *WINDOWS[:count]):
        writer.write(record)
    wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") == count + 2)
    return writer


def finished(writer, count=20):
    for record in (*WINDOWS[count:], samples.end()):
        writer.write(record)
    return writer.close()


def test_a_file_that_was_removed_is_made_again_as_a_whole(tmp_path, caplog):
    path = tmp_path / "runs" / "run.jsonl"
    writer = written_half(path, caplog)
    shutil.rmtree(path.parent)
    assert finished(writer)
    assert steps_in(path) == list(range(1, 41))
    assert caplog.text.count("was removed; recreated with all its records") == 1


def test_a_file_that_was_replaced_by_a_copy_goes_on_in_it(tmp_path, caplog):
    # As editors and synchronizing programs do: another inode under the name, half of it missing here.
    path = tmp_path / "run.jsonl"
    writer = written_half(path, caplog)
    copy = tmp_path / "copy"
    copy.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:10]))
    copy.replace(path)
    assert finished(writer)
    assert steps_in(path) == list(range(1, 41))
    assert caplog.text.count("was replaced by a copy") == 1


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_what_is_not_ours_is_left_as_it_is(tmp_path, caplog, kind):
    path, other = tmp_path / "run.jsonl", tmp_path / "other"
    other.write_text("somebody's\n")
    writer = written_half(path, caplog)
    path.unlink()
    if kind == "file":
        path.write_text("somebody's\n")
    elif kind == "link":
        path.symlink_to(other)
    else:
        path.mkdir()
    assert finished(writer)
    assert writer.path == tmp_path / "run-2.jsonl"
    assert steps_in(writer.path) == list(range(1, 41))
    assert caplog.text.count("was replaced by something else; all records are in") == 1
    assert other.read_text() == "somebody's\n"
    assert kind != "file" or path.read_text() == "somebody's\n"


def test_a_file_that_was_emptied_can_still_be_read(tmp_path, caplog):
    path = tmp_path / "run.jsonl"
    writer = written_half(path, caplog)
    os.truncate(path, 0)
    assert finished(writer)
    assert steps_in(path) == list(range(21, 41))
    (segment,) = read_run(path).segments
    assert (segment.start, segment.work, segment.end) == (samples.start(), samples.WORK, samples.end())
    assert caplog.text.count("was truncated") == 1


def test_half_a_line_of_somebody_else_costs_no_record(tmp_path, caplog):
    path = tmp_path / "run.jsonl"
    writer = written_half(path, caplog)
    with path.open("a") as file:
        file.write("half a li")
    assert finished(writer)
    assert steps_in(path) == list(range(1, 41))
    assert "1 unreadable line(s)" in read_run(path).notes[0]


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_a_name_that_is_taken_is_not_used(tmp_path, kind, caplog):
    taken = tmp_path / "run.jsonl"
    taken.symlink_to(tmp_path / "nowhere" / "x") if kind == "link" else taken.mkdir()
    assert new_run_file(tmp_path, tmp_path) == tmp_path / "run-2.jsonl"
    # And where it was taken between the choice and the first record.
    writer = RunFileWriter(taken)
    writer.write(samples.start())
    assert writer.close()
    assert writer.path == tmp_path / "run-2.jsonl"
    assert read_run(writer.path).segments[0].start == samples.start()


def test_a_folder_in_the_place_of_the_progress_costs_the_progress_alone(tmp_path, caplog):
    (tmp_path / "run.progress").mkdir()
    writer = RunFileWriter(tmp_path / "run.jsonl", lambda: samples.progress(1))
    writer.write(samples.start())
    wait_until(lambda: "cannot save progress next to the run file (Is a directory)" in caplog.text)
    assert finished(writer, 0)
    assert steps_in(tmp_path / "run.jsonl") == list(range(1, 41))
    assert caplog.text.count("cannot save progress") == 1


@pytest.mark.parametrize("change", ["removed", "replaced", "moved"])
def test_a_progress_that_somebody_touched_is_made_again(tmp_path, change):
    steps = iter(range(1, 1000))
    path, beside = tmp_path / "run.jsonl", tmp_path / "run.progress"
    writer = RunFileWriter(path, lambda: samples.progress(next(steps)))
    writer.write(samples.start())
    wait_until(beside.exists)
    (tmp_path / "copy").write_bytes(beside.read_bytes())
    if change == "removed":
        beside.unlink()
    else:
        (tmp_path / "copy" if change == "replaced" else beside).replace(
            beside if change == "replaced" else tmp_path / "x"
        )
    # What is there now is newer than anything that was there before.
    newest = next(steps)
    wait_until(lambda: (record := record_beside(path)) is not None and record.step > newest)
    assert writer.close()
    assert not beside.exists()


def test_no_inode_for_the_progress_costs_the_progress_alone(tmp_path, caplog):
    disk = tmp_path / "disk"
    disk.mkdir()
    options = "nr_inodes=2,size=1m"
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", disk]).returncode:
        pytest.skip("a disk with few inodes needs the right to mount one")
    try:
        writer = RunFileWriter(disk / "run.jsonl", lambda: samples.progress(1))
        writer.write(samples.start())
        wait_until(lambda: "cannot save progress next to the run file (No space left on device)" in caplog.text)
        assert finished(writer, 0)
        assert steps_in(disk / "run.jsonl") == list(range(1, 41))
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_errors_that_are_none_of_the_disks_are_survived(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(runfile_writer, "_RETRY_SECONDS", 0.01)
    append, calls = AppendedFile.append, []

    def failing(self, line):
        calls.append(line)
        if len(calls) % 2:
            raise RuntimeError("no OSError")
        append(self, line)

    def no_progress():
        raise KeyError("odd")

    monkeypatch.setattr(AppendedFile, "append", failing)
    writer = RunFileWriter(tmp_path / "run.jsonl", no_progress)
    for record in (samples.start(), *WINDOWS[:9]):
        writer.write(record)
    wait_until(lambda: not writer._waiting and writer._written == 10)
    wait_until(lambda: "cannot save progress" in caplog.text)
    assert writer.close()
    assert steps_in(tmp_path / "run.jsonl") == list(range(1, 10))
    assert "RuntimeError: no OSError; retrying" in caplog.text


def test_a_record_that_cannot_be_written_down_holds_up_no_other(tmp_path, caplog):
    writer = RunFileWriter(tmp_path / "run.jsonl")
    for record in (samples.start(), samples.window(1, 1001.0, slowest_rank=object()), *WINDOWS[1:]):
        writer.write(record)
    assert not writer.close()
    assert steps_in(tmp_path / "run.jsonl") == list(range(2, 41))
    assert "skipped a record of kind Window: TypeError" in caplog.text
    assert writer.shortfall().startswith("1 of 41 records of the run are not in")


@pytest.fixture
def no_threads(monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)


def test_without_a_thread_the_file_is_written_at_the_end(tmp_path, no_threads, caplog):
    writer = RunFileWriter(tmp_path / "run.jsonl")
    for record in (samples.start(), *WINDOWS):
        writer.write(record)
    assert not (tmp_path / "run.jsonl").exists()
    assert writer.close()
    assert steps_in(tmp_path / "run.jsonl") == list(range(1, 41))
    assert caplog.text.count("cannot start a thread for the run file; it is written at the end") == 1


def test_a_disk_that_hangs_at_the_end_is_said_and_the_rest_is_in_memory(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(runfile_writer, "_CLOSE_SECONDS", 0.3)
    path, release = tmp_path / "run.jsonl", threading.Event()
    writer = written_half(path, caplog)
    monkeypatch.setattr(AppendedFile, "append", lambda self, line: release.wait(20))
    began = time.monotonic()
    assert not finished(writer)
    assert time.monotonic() - began < 2
    assert writer.hangs
    # A start, the work, forty windows and an end are 43, of which 22 were written.
    assert writer.shortfall() == f"21 of 43 records of the run are not in {path}: the disk does not respond"
    (segment,) = writer.run().segments
    assert [window.step for window in segment.windows] == list(range(1, 41))
    assert (segment.start, segment.end) == (samples.start(), samples.end())
    release.set()


def test_what_could_never_be_written_is_known_from_memory(tmp_path):
    (tmp_path / "taken").write_text("a file where a folder should be")
    writer = RunFileWriter(tmp_path / "taken" / "run.jsonl")
    for record in samples.healthy_run():
        writer.write(record)
    assert not writer.close()
    assert writer.never_opened
    whole = read_run(write(tmp_path / "run.jsonl", samples.healthy_run()))
    assert writer.run().segments == whole.segments


def test_at_the_end_a_disk_that_fails_now_and_then_is_tried_again(tmp_path, monkeypatch):
    append, calls = AppendedFile.append, []

    def flaky(self, line):
        calls.append(line)
        if len(calls) % 2:
            raise OSError(5, "Input/output error")
        append(self, line)

    monkeypatch.setattr(AppendedFile, "append", flaky)
    writer = RunFileWriter(tmp_path / "run.jsonl")
    for record in (samples.start(), *WINDOWS[:5]):
        writer.write(record)
    assert writer.close()
    assert steps_in(tmp_path / "run.jsonl") == [1, 2, 3, 4, 5]


def test_a_file_or_a_dangling_link_in_the_place_of_the_folder_is_said(tmp_path, caplog):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        RunFileWriter(tmp_path / name / "run.jsonl").close()
        assert f"no run file: {tmp_path / name / 'run.jsonl'}: Not a directory" in caplog.text
