import torch
from torch import nn

from flopwatch.lightning.counting.counter import Seen, TrainingParameters, Warnings
from flopwatch.measure.results import Measurement
from tests.lightning.counting.test_contents import subject


def test_a_sentence_is_said_once(caplog):
    warnings = Warnings()
    for sentence in ("one", "two", "one"):
        warnings.say(sentence)
    assert [each.message for each in caplog.records] == ["one", "two"]


def test_what_was_seen_is_forward_and_backward_under_the_runs_convention():
    assert Seen(Measurement(100, 200, 50, "causal"), Measurement(1000, 2000, 0, "full")).flops == 300


def test_parameters_of_a_model_that_is_split_are_not_known():
    layer = nn.Linear(3, 4)
    layer.bias.requires_grad_(False)
    assert (subject(layer).parameters(), subject(layer).trainable_parameters()) == (16, 12)
    assert (subject(layer, sharded=True).parameters(), subject(layer, sharded=True).trainable_parameters()) == (
        None,
        None,
    )


def test_equal_numbers_are_equal_parameters_that_train():
    layer = nn.Linear(3, 4)
    training = TrainingParameters(layer)
    numbers = []
    for trains in (True, False, False, True):
        layer.bias.requires_grad_(trains)
        numbers.append(training.now())
    assert numbers == [0, 1, 1, 0]


def test_parameters_that_come_later_are_seen_once_they_are_listed_again():
    layer = nn.Linear(3, 4)
    training = TrainingParameters(layer)
    before = training.now()
    layer.extra = nn.Parameter(torch.zeros(1))
    assert training.now() == before
    training.list_again()
    assert training.now() != before
