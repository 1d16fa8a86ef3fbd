import pytest

from flopwatch.trace.collectives import CollectiveTime, collective_times, waiting_of
from flopwatch.trace.reader import read
from flopwatch.trace.work import work_of
from tests.trace import traces
from tests.trace.traces import kernel

MICRO = 1000


def times(*spans, group="", name="allreduce"):
    return [
        CollectiveTime(group, name, number, start * MICRO, end * MICRO) for number, (start, end) in enumerate(spans)
    ]


def micro(seconds):
    return round(1e6 * seconds, 6)


def test_waiting_is_until_the_last_arrival_and_transfer_the_rest():
    # First: rank 1 arrives at 30, both end at 40: rank 0 waits 20, transfers 10. Second: rank 0 is 5 late.
    first, second = waiting_of([times((10, 40), (105, 120)), times((30, 40), (100, 120))])
    assert (first.collectives, micro(first.waiting_seconds), micro(first.transfer_seconds)) == (2, 20, 10 + 15)
    assert (micro(second.waiting_seconds), micro(second.transfer_seconds)) == (5, 10 + 15)
    assert (micro(first.caused_seconds), micro(second.caused_seconds)) == (5, 20)


def test_clocks_that_differ_are_told_by_the_ends():
    # The second rank's clock is a million microseconds ahead; nobody waits.
    ahead = [(10 + 10**6, 40 + 10**6), (100 + 10**6, 120 + 10**6)]
    found = waiting_of([times((10, 40), (100, 120)), times(*ahead)])
    assert [micro(each.waiting_seconds) for each in found] == [0, 0]
    assert [micro(each.transfer_seconds) for each in found] == [50, 50]


def test_groups_of_some_ranks_are_compared_among_these():
    # Rank 2 shares only group "b" with rank 1, whose clock is known by group "a".
    ranks = [
        times((0, 10), group="a"),
        times((4, 10), group="a") + times((20, 30), group="b"),
        times((23, 30), group="b"),
    ]
    found = waiting_of(ranks)
    assert [micro(each.waiting_seconds) for each in found] == [4, 3, 0]
    assert [each.collectives for each in found] == [1, 2, 1]


def test_without_groups_all_ranks_must_have_it():
    assert waiting_of([times((0, 10)), times((0, 10)), []]) == ()
    assert waiting_of([times((0, 10))]) == ()
    assert waiting_of([[], []]) == ()


def test_waiting_is_no_longer_than_the_collective():
    # By the ends the ranks are 100 apart in the first and 0 in the two others.
    found = waiting_of([times((0, 10), (200, 210), (300, 310)), times((108, 110), (200, 210), (300, 310))])
    assert micro(found[0].waiting_seconds) == 10


def test_collectives_are_numbered_by_the_trace_or_in_order(tmp_path):
    known = {"Collective name": "allreduce", "Process Group Name": "0"}
    path = traces.written(
        tmp_path / "t.json",
        kernel(5, 6, "ncclA", Seq=8, **known),
        kernel(0, 1, "ncclB"),
        kernel(3, 4, "ncclB", stream=3),
        kernel(7, 8, "ncclC", Seq=9, **{**known, "Collective name": "send"}),
        kernel(8, 9),
    )
    trace = read(path)
    found = collective_times(trace, work_of(trace))
    assert [(each.group.strip(), each.name, each.number) for each in found] == [
        ("", "ncclB", 0),
        ("", "ncclB", 1),
        ("0", "allreduce", 8),
    ]


def cut_off(tmp_path, rank, first):
    """Collectives each 1,000 us, the first of which may straddle the step's mark."""
    rest = [kernel(1000 + 1000 * each, 1200 + 1000 * each, "ncclA", stream=20) for each in range(1, 9)]
    trace = read(
        traces.written(tmp_path / f"{rank}.json", traces.device_step(1000, 11_000), kernel(*first, "ncclA"), *rest)
    )
    return collective_times(trace, work_of(trace))


def test_collectives_without_numbers_are_compared_only_where_all_ranks_have_as_many(tmp_path):
    # On rank 0 the first one lies before the mark, on rank 1 it straddles it: eight are whole on both.
    first, second = cut_off(tmp_path, 0, (900, 980)), cut_off(tmp_path, 1, (900, 1050))
    assert (len(first), len(second)) == (8, 8)
    assert [micro(each.waiting_seconds) for each in waiting_of([first, second])] == [0, 0]
    # On rank 2 it is whole within the step: which of its nine is which of the eight is not known.
    assert waiting_of([first, cut_off(tmp_path, 2, (1010, 1100))]) == ()
    told = [each._replace(is_told=True) for each in first], [each._replace(is_told=True) for each in first[1:]]
    assert [each.collectives for each in waiting_of(told)] == [7, 7]


@pytest.mark.parametrize("ranks", [2, 5])
def test_what_all_wait_is_what_somebody_caused(ranks):
    found = waiting_of([times((rank * 3, 50), (90 - rank, 100)) for rank in range(ranks)])
    waited = sum(each.waiting_seconds for each in found)
    assert waited > 0
    assert sum(each.caused_seconds for each in found) == pytest.approx(waited)
