"""What a rank writes, and when there is something to write."""

import msgspec
import pytest

from flopwatch.hardware.telemetry import Telemetry
from flopwatch.lightning.ranks.marks import StepMark
from flopwatch.lightning.ranks.publishing import SCHEMA, OwnRecord, RankReading, UnreadableRecord, decode
from flopwatch.run.counts import COUNTED, Counts
from flopwatch.run.meter import Mark

MARK = Mark(Counts(5, 4, 3, 2, 1, batches=2, steps=1))


class Gpu:
    """What is read of it; the arguments are kept."""

    def __init__(self):
        self.asked, self.telemetry = [], Telemetry(5, 1.9e9, 1.8e9)

    def __call__(self, window):
        self.asked.append(window)
        return RankReading(self.telemetry if window else Telemetry(), 100 * len(self.asked), "GPU-a")


def taken(record, agreed=0, refused=0):
    return decode(record.take(agreed, refused), "0.2.0")


def test_the_first_record_is_published_at_once_and_then_only_what_has_changed():
    record = OwnRecord("0.2.0", Gpu())
    first = taken(record)
    assert (first.schema, first.version, first.marks, first.left) == (SCHEMA, "0.2.0", [], None)
    assert record.take(0, 0) is None
    record.note(StepMark(1, MARK, 0.5))
    assert record.take(0, 0) is None, "a step alone is no reason"
    record.keep(1, window=False)
    (mark,) = taken(record).marks
    assert (mark.step, mark.work, mark.own_seconds) == (1, MARK, 0.5)


def test_counts_of_other_fields_are_of_another_schema():
    # What a rank does not send is read as 0, so a field more needs another number.
    assert (SCHEMA, len(COUNTED)) == (2, 7)


def test_the_gpu_is_read_over_a_window_at_its_end_alone_and_the_last_reading_stays():
    gpu = Gpu()
    record = OwnRecord("0.2.0", gpu)
    record.take(0, 0)
    record.note(StepMark(1, MARK, 0.0))
    record.keep(1, window=True)
    assert taken(record).reading == RankReading(gpu.telemetry, 200, "GPU-a")
    record.touch()
    assert taken(record).reading == RankReading(gpu.telemetry, 300, "GPU-a")
    assert gpu.asked == [False, True, False]


def test_what_was_voted_is_in_the_record():
    record = taken(OwnRecord("0.2.0", Gpu()), agreed=3, refused=2)
    assert (record.agreed, record.refused) == (3, 2)


def test_a_rank_that_left_says_why_and_reads_its_gpu_no_more():
    gpu = Gpu()
    record = OwnRecord("0.2.0", gpu)
    record.leave("failed in flopwatch")
    assert (record.left, taken(record).left) == ("failed in flopwatch", "failed in flopwatch")
    assert gpu.asked == []


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"", "published something other than a flopwatch record"),
        (b"\xff", "published something other than a flopwatch record"),
        (b"[1]", "published something other than a flopwatch record"),
        (msgspec.json.encode({"schema": SCHEMA + 1, "version": "9.0"}), "runs flopwatch 9.0, the first rank 0.2.0"),
        (msgspec.json.encode({"schema": 9, "version": "v" * 99}), "runs flopwatch " + "v" * 20 + ", the first rank"),
    ],
)
def test_what_is_no_record_of_this_version_says_what_it_is(payload, said):
    with pytest.raises(UnreadableRecord, match=said):
        decode(payload, "0.2.0")
