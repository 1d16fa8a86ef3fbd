import os
import threading

import pytest

from flopwatch.errors import RunFileError
from flopwatch.report.report import summarize
from flopwatch.run.record_lines import to_json
from flopwatch.run.run_file import (
    find_run_file,
    new_run_file,
    progress_path,
    read_run,
    report_path,
)
from flopwatch.run.run_file_writer import RunFileWriter
from tests import samples


def write(path, records):
    writer = RunFileWriter(path)
    for record in records:
        writer.write(record)
    assert writer.close()
    return path


def test_what_is_written_is_read(tmp_path):
    run = read_run(write(tmp_path / "a" / "run.jsonl", samples.healthy_run()))
    (segment,) = run.segments
    assert (segment.start, segment.work, segment.end) == (samples.start(), samples.WORK, samples.end())
    assert [window.step for window in segment.windows] == [1, 11, 21]
    assert [event.message for event in segment.events] == ["a note of the run"]
    assert run.notes == ()


def test_every_row_is_on_disk_as_soon_as_it_is_written(tmp_path):
    writer = RunFileWriter(tmp_path / "run.jsonl")
    writer.write(samples.start())
    for _ in range(200):
        if (tmp_path / "run.jsonl").exists() and (tmp_path / "run.jsonl").read_text().endswith("\n"):
            break
        threading.Event().wait(0.01)
    assert read_run(tmp_path / "run.jsonl").segments[0].start == samples.start()
    writer.close()


def test_a_file_cut_at_any_place_opens_and_changes_no_number_of_what_is_left(tmp_path):
    whole = write(tmp_path / "run.jsonl", samples.healthy_run()).read_bytes()
    first_line = whole.index(b"\n")
    windows = read_run(tmp_path / "run.jsonl").segments[0].windows
    for length in range(0, len(whole), 37):
        cut = tmp_path / "cut.jsonl"
        cut.write_bytes(whole[:length])
        if length < first_line:
            with pytest.raises(RunFileError):
                read_run(cut)
            continue
        (segment,) = read_run(cut).segments
        assert segment.windows == windows[: len(segment.windows)]


def test_a_half_written_last_line_is_dropped_with_a_note(tmp_path):
    path = write(tmp_path / "run.jsonl", samples.healthy_run())
    path.write_bytes(path.read_bytes()[:-20])
    run = read_run(path)
    assert run.segments[0].end is None
    assert "1 unreadable line(s) of run.jsonl were skipped, first line 7" in run.notes[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no start record"),
        (b"hello\n", "line 1"),
        (b"\x00\xff" * 5000, "line 1"),
        (b'{"kind":"dream"}\n', "no start"),
    ],
)
def test_foreign_files_are_a_clear_error(tmp_path, content, said):
    (tmp_path / "run.jsonl").write_bytes(content)
    with pytest.raises(RunFileError, match=said):
        read_run(tmp_path / "run.jsonl")


def test_paths_that_hold_no_run_are_a_clear_error(tmp_path):
    with pytest.raises(RunFileError, match="found nothing at"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(RunFileError, match="found none"):
        read_run(tmp_path)


def test_a_folder_means_its_newest_run(tmp_path):
    old, new = (write(tmp_path / name / "run.jsonl", samples.healthy_run()) for name in ("a", "b"))
    os.utime(old, (1, 1))
    assert find_run_file(tmp_path) == new
    os.utime(new, (0, 0))
    assert find_run_file(tmp_path) == old


def test_a_resumed_run_is_read_with_what_came_before(tmp_path):
    first = write(tmp_path / "a" / "run.jsonl", samples.healthy_run()[:-1])
    resumed = samples.start(time=2000.0, step=11, resumed_from=str(first.resolve()))
    second = write(tmp_path / "b" / "run.jsonl", [resumed, samples.window(21, 2010.0)])
    earlier, later = read_run(second).segments
    # The first process went on to step 21, the second one from step 11: steps 12 to 21 of the first were lost.
    assert [window.step for window in earlier.windows] == [1, 11]
    assert [window.step for window in later.windows] == [21]
    (tmp_path / "a").rename(tmp_path / "c")
    run = read_run(second)
    assert len(run.segments) == 1
    assert "resumed from is missing" in run.notes[0]


def test_a_run_moved_with_its_earlier_part_is_still_whole(tmp_path):
    first = write(tmp_path / "runs" / "a" / "run.jsonl", samples.healthy_run())
    resumed = samples.start(step=11, resumed_from=str(first.resolve()))
    write(tmp_path / "runs" / "b" / "run.jsonl", [resumed])
    (tmp_path / "runs").rename(tmp_path / "moved")
    assert len(read_run(tmp_path / "moved" / "b" / "run.jsonl").segments) == 2


def test_a_run_that_says_it_came_from_itself_is_read_once(tmp_path):
    path = tmp_path / "run.jsonl"
    write(path, [samples.start(resumed_from=str(path.resolve()))])
    assert len(read_run(path).segments) == 1


def test_new_files_never_meet_old_ones(tmp_path):
    paths = set()
    for _ in range(3):
        path = new_run_file(None, tmp_path)
        path.parent.mkdir(parents=True)
        paths.add(path)
        own = new_run_file(tmp_path / "own", tmp_path)
        own.parent.mkdir(exist_ok=True)
        own.touch()
        paths.add(own)
    assert len(paths) == 6
    assert {path.name for path in paths if path.parent.name == "own"} == {"run.jsonl", "run-2.jsonl", "run-3.jsonl"}
    assert report_path(tmp_path / "run-2.jsonl", "html").name == "report-2.html"


@pytest.mark.parametrize("content", ["", "nope", '{"kind"'])
def test_a_damaged_earlier_file_costs_itself_alone(tmp_path, content):
    earlier = tmp_path / "a" / "run.jsonl"
    earlier.parent.mkdir()
    earlier.write_text(content)
    start = samples.start(resumed_from=str(earlier), step=10)
    path = write(tmp_path / "b" / "run.jsonl", [start, *samples.healthy_run()[1:]])
    run = read_run(path)
    assert len(run.segments) == 1
    assert "the run file that this run was resumed from cannot be read" in run.notes[0]


def test_links_to_nothing_and_folders_that_are_named_like_files_are_passed_over(tmp_path):
    path = write(tmp_path / "run.jsonl", samples.healthy_run())
    (tmp_path / "run-old.jsonl").symlink_to(tmp_path / "gone")
    (tmp_path / "run-a.jsonl").mkdir()
    assert read_run(tmp_path).path == path


def test_a_file_of_unreadable_lines_is_given_up(tmp_path):
    path = write(tmp_path / "run.jsonl", samples.healthy_run()[:1])
    with path.open("a") as file:
        file.write("\n" * 5_000_000)
    with pytest.raises(RunFileError, match=r"most of .* is unreadable"):
        read_run(path)


def test_a_process_that_a_later_one_followed_was_killed(tmp_path):
    first = write(tmp_path / "a" / "run.jsonl", samples.healthy_run()[:-1])
    start = samples.start(time=1100.0, step=21, resumed_from=str(first))
    path = write(tmp_path / "b" / "run.jsonl", [start, *samples.healthy_run()[1:-1]])
    statuses = [process.status for process in summarize(read_run(path)).each_process]
    assert statuses == ["killed", "killed or still running"]


def test_a_process_that_came_further_than_its_last_window_says_how_far(tmp_path):
    records = samples.healthy_run()[:-1]  # killed: the last window is of step 21
    path = write(tmp_path / "run.jsonl", records)
    for step, notes in ((21, ()), (1150, ("the process came to step 1,150; the numbers are those up to step 21",))):
        progress_path(path).write_text(to_json(samples.progress(step)) + "\n")
        assert read_run(path).notes == notes
    ended = write(tmp_path / "run-2.jsonl", samples.healthy_run())
    progress_path(ended).write_text(to_json(samples.progress(1150)) + "\n")
    assert read_run(ended).notes == ()
