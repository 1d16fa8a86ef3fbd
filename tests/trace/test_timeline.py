from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from flopwatch.trace.timeline import divide


class Piece(NamedTuple):
    start: int
    end: int
    kind: int


def test_the_lowest_class_counts_where_several_run():
    # 0 .. 10: kind 2;  4 .. 6: kind 0 over it;  8 .. 12: kind 1; gap 12 .. 15; 15 .. 20: kind 2; gap to 22
    pieces = [Piece(0, 10, 2), Piece(4, 6, 0), Piece(8, 12, 1), Piece(15, 20, 2)]
    division = divide(pieces, (0, 22), watched=[2])
    assert division.by_kind == {2: 4 + 2 + 5, 0: 2, 1: 4}
    assert division.watched == 10 + 5
    assert division.gaps == [(12, 15, 3), (20, 22, -1)]


def test_equal_classes_are_united():
    division = divide([Piece(0, 10, 1), Piece(5, 12, 1), Piece(12, 13, 1)], (0, 13))
    assert division.by_kind == {1: 13}
    assert division.gaps == []


def test_what_has_no_length_counts_nothing():
    division = divide([Piece(3, 3, 0)], (0, 5))
    assert division.by_kind == {}
    assert division.gaps == [(0, 5, -1)]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 3)), max_size=12))
def test_each_moment_is_in_exactly_one_class(drawn):
    pieces = [Piece(min(a, b), max(a, b), kind) for a, b, kind in drawn]
    division = divide(pieces, (0, 50), watched=[1, 3])
    moments = [[each.kind for each in pieces if each.start <= moment < each.end] for moment in range(50)]
    for kind in range(4):
        assert division.by_kind.get(kind, 0) == sum(1 for running in moments if running and min(running) == kind)
    assert sum(end - start for start, end, _ in division.gaps) == sum(1 for running in moments if not running)
    assert division.watched == sum(1 for running in moments if 1 in running or 3 in running)
