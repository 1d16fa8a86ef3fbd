"""Counting that fails in one place or another, and what is left of it."""

import pytest

from flopwatch.lightning.counting import guarded as module
from flopwatch.lightning.counting.guarded import GuardedCounting
from flopwatch.run.counts import UNKNOWN, Counts
from flopwatch.run.records import Work

WORK, COUNTED = Work("verified", "a note"), Counts(5, 4, 3, 5, 4)


class Counting:
    """A count of which any part may be told to fail."""

    broken = ()

    def __init__(self, *arguments, **options):
        self._maybe("init", None)
        self.new, self.calls = WORK, []

    def _maybe(self, name, value):
        if name in self.broken:
            raise KeyError(name)
        return value

    def __getattr__(self, name):
        values = {"count": COUNTED, "contents": Counts(None, 4, 3, None, 4), "settle": [COUNTED], "parameters": 7}
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*arguments, **named):
            self.calls.append(name)
            return self._maybe(name, values.get(name))

        return call

    def news(self):
        new, self.new = self.new, None
        return new


@pytest.fixture
def guarded(monkeypatch):
    def make(*broken):
        monkeypatch.setattr(module, "Counting", type("Counting", (Counting,), {"broken": broken}))
        return GuardedCounting(None)

    return make


def test_what_works_is_handed_on(guarded):
    one = guarded()
    assert (one.count("batch"), one.settle(), one.parameters(), one.news(), one.news()) == (
        *(COUNTED, [COUNTED], 7),
        *(WORK, None),
    )
    for name in ("check_soon", "batch_begins", "backward_ends", "batch_ends", "skip"):
        getattr(one, name)()
    one.plan("batch")
    one.backward_begins("loss")
    one.release()
    expected = ["count", "settle", "parameters", "check_soon", "batch_begins", "backward_ends", "batch_ends", "skip"]
    assert one._counting.calls == [*expected, "plan", "backward_begins", "release"]


def test_a_batch_that_cannot_be_counted_has_its_contents_alone_and_that_is_said_once(guarded, caplog):
    one = guarded("count")
    assert [one.count("batch") for _ in range(2)] == [Counts(None, 4, 3, None, 4)] * 2
    assert caplog.text.count("counting the FLOPs of a batch failed, everything else continues") == 1


def test_where_that_fails_too_nothing_is_known_of_it(guarded):
    assert guarded("count", "contents").count("batch") == UNKNOWN


def test_lengths_that_cannot_be_settled_are_unknown(guarded):
    assert guarded("settle").settle(last=True) == [UNKNOWN]


def test_a_first_batch_that_fails_is_withheld_with_the_reason_unless_it_was_said_how(guarded):
    one = guarded("count")
    one._counting.new = None
    one.count("batch")
    assert one.news() == Work("withheld", "counting failed: KeyError: 'count'")
    assert one.news() is None
    known = guarded("count")
    assert known.news() == WORK
    known.count("batch")
    assert known.news() is None, "it was said how others are counted, which holds"


def test_what_cannot_even_be_set_up_counts_nothing_and_disturbs_nobody(guarded):
    one = guarded("init")
    assert (one.count("batch"), one.settle(), one.parameters(), one.at_the_end()) == (UNKNOWN, [], None, None)
    for name in ("check_soon", "batch_begins", "backward_ends", "batch_ends", "skip", "release"):
        getattr(one, name)()
    one.plan("batch")
    one.backward_begins("loss")
    assert one.news().note == "counting failed: KeyError: 'init'"


@pytest.mark.parametrize(
    "name", ["plan", "batch_begins", "batch_ends", "backward_begins", "backward_ends", "check_soon", "skip"]
)
def test_no_error_of_ours_reaches_the_users_step(guarded, name, caplog):
    one = guarded(name)
    getattr(one, name)(*(["batch"] if name in ("plan", "backward_begins") else []))
    assert "failed, everything else continues" in caplog.text
