"""Summing over ranks: the tree, what travels in it, and what becomes of it when somebody is gone."""

import queue
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopwatch.lightning.exchange import Exchange, Op, Share, combined, from_numbers, to_numbers
from flopwatch.lightning.topology import FAN_OUT, children_of, depth_of, parent_of

numbers = st.integers(-(2**60), 2**60)
sums = st.integers(-(2**118), 2**118)


def share(rank, flops=None):
    return Share([rank if flops is None else flops, 1], [0, 0], [rank], (rank, rank), 0)


@pytest.mark.parametrize("world_size", [1, 2, 3, 16, 17, 255, 256, 257, 4000, 16_384])
def test_every_rank_hangs_on_exactly_one_parent_and_reaches_the_first(world_size):
    found = [(child, rank) for rank in range(world_size) for child in children_of(rank, world_size)]
    assert sorted(child for child, _ in found) == list(range(1, world_size))
    assert all(parent_of(child) == rank for child, rank in found)


@pytest.mark.parametrize(("world_size", "depth", "children"), [(8, 1, 7), (256, 2, 30), (4096, 3, 45), (16_384, 4, 48)])
def test_nobody_speaks_with_many_and_the_way_is_short(world_size, depth, children):
    # 16 ranks on each level: log16(16,384) = 3.5, so four levels and at most 15 children on each, 3 on the last.
    assert max(depth_of(rank) for rank in range(world_size)) == depth
    assert max(len(children_of(rank, world_size)) for rank in range(world_size)) == children
    assert children <= (FAN_OUT - 1) * depth


@pytest.mark.parametrize("world_size", [1, 7, 300, 16_384])
def test_a_sum_up_the_tree_is_the_sum_of_all(world_size):
    """A simulation: messages as they travel, level by level, as many bytes for 16,384 ranks as for two."""
    flops = 10**24 + 1

    def up(rank):
        own = share(rank, flops)
        for child in children_of(rank, world_size):
            message = to_numbers(up(child))
            assert len(message) == len(to_numbers(share(0)))
            assert all(abs(each) < 2**63 for each in message)
            own = combined(own, from_numbers(message, own))
        return own

    total = up(0)
    assert total.sums == [world_size * flops, world_size]
    assert total.lowest == [0]
    assert total.highest == (world_size - 1, world_size - 1)


@given(st.lists(st.tuples(sums, numbers, numbers), min_size=1, max_size=4))
def test_what_travels_arrives(rows):
    one = Share([row[0] for row in rows], [1] * len(rows), [row[1] for row in rows], (rows[0][2], 3), 2)
    assert from_numbers(to_numbers(one), one) == one


@given(st.permutations(range(6)))
def test_the_order_of_the_answers_does_not_matter(order):
    total = share(order[0])
    for rank in order[1:]:
        total = combined(total, share(rank))
    assert (total.sums, total.lowest, total.highest) == ([15, 6], [0], (5, 5))


def test_of_equally_slow_ranks_the_lowest_is_named():
    assert combined(Share(highest=(7, 4)), Share(highest=(7, 2))).highest == (7, 2)


def test_a_number_too_large_is_refused_and_not_cut():
    with pytest.raises(OverflowError, match="too large"):
        to_numbers(Share([2**120], [0], [], (0, 0), 0))


class Wires:
    """Links of one rank over queues; `cut` makes its messages to its parent fail."""

    def __init__(self, rank, world_size, down, up, cut=False):
        self.rank, self.down, self.up, self.cut = rank, down, up, cut
        self.children = children_of(rank, world_size)

    def hear_parent(self):
        return self.down[self.rank].get(timeout=10)

    def tell_children(self, op, argument):
        for child in self.children:
            self.down[child].put((op, argument))

    def hear_children(self, own):
        for child in self.children:
            message = self.up[child].get(timeout=1)
            own = combined(own, from_numbers(message, own))
        return own

    def tell_parent(self, share):
        if self.cut:
            raise ConnectionError("gone")
        self.up[self.rank].put(to_numbers(share))


def ranks(world_size, answer, cut=()):
    down, up = ([queue.Queue() for _ in range(world_size)] for _ in range(2))
    return [
        Exchange(
            Wires(rank, world_size, down, up, rank in cut),
            lambda op, step, rank=rank: answer(rank, op, step),
            rank == 0,
        )
        for rank in range(world_size)
    ]


def test_one_asks_and_all_answer_without_any_training_thread():
    threads = set()

    def answer(rank, op, step):
        threads.add(threading.current_thread().name)
        return share(rank, step)

    first, *others = ranks(40, answer)
    requests = [first.ask(Op.SUM, step) for step in (10, 20)]
    assert all(each.done.wait(10) for each in requests)
    assert [each.share.sums for each in requests] == [[400, 40], [800, 40]]
    first.ask(Op.END, 0)
    assert all(each.join(10) for each in (first, *others))
    assert threads == {"flopwatch-ranks"}


def test_a_rank_that_waits_for_its_step_holds_nobody_up_who_asks():
    arrived = threading.Event()

    def answer(rank, op, step):
        if rank == 3:
            arrived.wait(10)
        return share(rank)

    first, *_ = ranks(5, answer)
    request = first.ask(Op.SUM, 7)
    assert not request.done.wait(0.2)
    arrived.set()
    assert request.done.wait(10)
    assert request.share.sums == [10, 5]


def test_a_rank_that_is_gone_ends_the_asking_and_fails_what_waits():
    first, *_ = ranks(5, lambda rank, op, step: share(rank), cut={2})
    requests = [first.ask(Op.SUM, step) for step in (1, 2, 3)]
    assert all(each.done.wait(10) for each in requests)
    assert all(each.failed and each.share is None for each in requests)
    assert first.error is not None
    assert first.ask(Op.SUM, 4).failed
