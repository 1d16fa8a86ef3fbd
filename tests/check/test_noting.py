"""Which operators run."""

import torch

from flopwatch.check.noting import NotedOperators


def test_operators_are_noted_in_order():
    ones = torch.ones(2, 2)
    with NotedOperators() as noted:
        (ones @ ones).relu()
    ones.exp()
    assert noted.names == ["aten::mm", "aten::relu"]
