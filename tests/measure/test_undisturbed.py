"""Random numbers and modules that are put back, each on its own."""

import random

import numpy
import pytest
import torch
from torch import nn

from flopwatch.measure.undisturbed import OwnNumbers, module_kept, random_states_kept, tensors_of


def test_numbers_drawn_inside_are_those_that_would_have_come_and_come_again_outside():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with OwnNumbers():
        inside = torch.rand(3)
    assert torch.equal(inside, expected)
    assert torch.equal(torch.rand(3), expected)


def test_inside_the_numbers_go_on_from_one_draw_to_the_next():
    torch.manual_seed(0)
    expected = [torch.rand(1), torch.randn(1)]
    torch.manual_seed(0)
    with OwnNumbers():
        assert [torch.rand(1), torch.randn(1)] == expected


def test_pythons_and_numpys_numbers_come_again_after_an_error_too():
    def draws():
        drawn.append((random.random(), numpy.random.random()))
        raise KeyError

    drawn = []
    for _ in range(2):
        with pytest.raises(KeyError), random_states_kept([]):
            draws()
    assert drawn[0] == drawn[1]


def trained():
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval()
    module[0].train()
    x = torch.ones(3, 2, requires_grad=True)
    module[0].weight.grad = torch.full((2, 2), 7.0)
    return module, x


def test_gradients_buffers_and_modes_are_put_back():
    module, x = trained()
    gradient, mean = module[0].weight.grad, module[1].running_mean
    with module_kept(module, (x,)):
        assert module[0].weight.grad is None, "inside there is none to add to"
        module.train()(x).sum().backward()
        assert not torch.equal(mean, torch.zeros(2))
    assert module[0].weight.grad is gradient
    assert torch.equal(gradient, torch.full((2, 2), 7.0))
    assert module[0].bias.grad is x.grad is None
    assert module[1].running_mean is mean
    assert torch.equal(mean, torch.zeros(2))
    assert [each.training for each in module.modules()] == [False, True, False]


def test_a_buffer_that_was_replaced_is_the_old_one_again():
    module, _ = trained()
    old = module[1].running_var

    def replaces():
        module[1].running_var = torch.zeros(2)
        raise KeyError

    with pytest.raises(KeyError), module_kept(module, ()):
        replaces()
    assert module[1].running_var is old
    assert torch.equal(old, torch.ones(2))


def test_tensors_are_found_however_deep():
    one, two = torch.zeros(1), torch.zeros(2)
    assert tensors_of(((one, "text"), {"a": [two, 3]})) == [one, two]
