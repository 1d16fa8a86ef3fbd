"""The user's own count of a batch."""

import pytest
import torch

from flopwatch.errors import ConfigError
from flopwatch.lightning.counting.counter import Pattern, Seen
from flopwatch.lightning.counting.given import GivenCounter
from flopwatch.measure.results import Measurement
from flopwatch.run.counts import Counts
from tests.lightning.counting.test_contents import subject

BATCH = (torch.zeros(2, 16, dtype=torch.long),) * 2


def counter(function, look=None):
    return GivenCounter(subject(), function, BATCH, look)


def test_a_batch_costs_what_the_function_says():
    one = counter(lambda batch: 1000 * batch[0].shape[0])
    assert one.count(BATCH, None, Pattern()) == Counts(2000, 32, 2, None, None)
    assert (one.work.verification, one.work.training_flops, one.work.hardware_flops) == ("given", 2000, None)
    assert one.work.note == "given by the user's flops_per_batch; no batch was watched as a check"
    assert one.at_the_end() is one.work


def test_what_a_watched_batch_ran_is_said_beside_it_and_changes_nothing():
    seen = Seen(Measurement(1000, 2000, 0, "causal"), Measurement(1500, 3000, 0, "full"))
    one = counter(lambda batch: 7, seen)
    assert one.work.note.endswith("; a watched batch ran 3,000 FLOPs, the function returned 7")
    assert one.objection(BATCH, seen, Pattern()) is None
    assert one.knows(BATCH, Pattern(5))


def test_zero_is_a_count():
    assert counter(lambda batch: 0).count(BATCH, None, Pattern()).flops == 0


@pytest.mark.parametrize(
    ("function", "got"),
    [
        (lambda batch: 1.5, "1.5"),
        (lambda batch: True, "True"),
        (lambda batch: -1, "-1"),
        (lambda batch: None, "None"),
        (lambda batch: {}["x"], "'KeyError'"),
    ],
)
def test_what_is_no_whole_number_of_flops_is_refused(function, got):
    with pytest.raises(ConfigError, match=f"flops_per_batch failed: expected a whole number of FLOPs, got {got}$"):
        counter(function)


def test_a_later_failure_leaves_that_batch_unknown_and_is_told_once(caplog):
    answers = iter([5, "x", "x", 5])
    one = counter(lambda batch: next(answers))
    assert [one.count(BATCH, None, Pattern()).flops for _ in range(3)] == [None, None, 5]
    assert caplog.text.count("got 'x'; FLOPs are unknown") == 1
