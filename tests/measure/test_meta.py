"""Copies without data: what becomes shapes, what is shared, what is left behind."""

import functools
from collections import UserDict, namedtuple
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from flopwatch.measure.meta import meta_batch, meta_copy

ONES = torch.ones(2, 3)
Pair = namedtuple("Pair", "x y")


@dataclass(frozen=True)
class Graph:
    nodes: torch.Tensor
    name: str = "graph"
    size: int = field(init=False, default=0)


def test_a_copy_has_the_shapes_types_and_gradients_and_no_data():
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).half()
    module[0].bias.requires_grad_(False)
    copy = meta_copy(module)
    assert {each.device.type for each in (*copy.parameters(), *copy.buffers())} == {"meta"}
    assert [(each.shape, each.dtype, each.requires_grad) for each in copy.parameters()] == [
        (each.shape, each.dtype, each.requires_grad) for each in module.parameters()
    ]
    assert {each.device.type for each in module.parameters()} == {"cpu"}


def test_a_weight_that_two_share_is_shared_in_the_copy():
    module = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    module[1].weight = module[0].weight
    copy = meta_copy(module)
    assert copy[0].weight is copy[1].weight


def test_tensors_in_plain_lists_and_dictionaries_are_copied_without_data_too():
    module = nn.Module()
    module.tables, module.names = [ONES], {"a": ONES[:1].clone()}
    copy = meta_copy(module)
    assert (copy.tables[0].device.type, copy.names["a"].device.type) == ("meta", "meta")
    assert copy.tables[0].shape == (2, 3)


def test_data_and_loggers_are_shared_and_a_trainer_is_left_behind():
    class Rows(Dataset):
        def __deepcopy__(self, memo):
            raise AssertionError("a data set is not copied")

    class Logger:
        __deepcopy__ = Rows.__deepcopy__

    module = nn.Module()
    module.data, module.loggers, module._trainer = Rows(), [Logger()], Rows()
    copy = meta_copy(module)
    assert copy.data is module.data
    assert copy.loggers[0] is module.loggers[0]
    assert copy._trainer is None


def test_a_function_that_was_set_on_a_module_does_not_run_the_original():
    module = nn.Linear(3, 3)
    module.forward = functools.partial(lambda owner, x: owner.weight, module)
    copy = meta_copy(module)
    assert copy(torch.empty(2, 3, device="meta")).device.type == "meta"
    assert "forward" in vars(module), "on the module itself it stays"


@pytest.mark.parametrize(
    "batch",
    [ONES, [ONES, ONES], (ONES,), Pair(ONES, "text"), {"x": ONES, "n": 3}, {"deep": [{"x": ONES}]}, UserDict(x=ONES)],
    ids=lambda batch: type(batch).__name__,
)
def test_a_batch_keeps_its_kind_and_its_shapes(batch):
    def places(value):
        if isinstance(value, torch.Tensor):
            return [(value.device.type, tuple(value.shape))]
        values = value.values() if hasattr(value, "values") else value if isinstance(value, (list, tuple)) else ()
        return [place for each in values for place in places(each)]

    made = meta_batch(batch)
    assert type(made) is type(batch)
    assert set(places(made)) == {("meta", (2, 3))}
    assert set(places(batch)) == {("cpu", (2, 3))}


def test_records_and_things_that_move_themselves_are_made_anew():
    made = meta_batch(Graph(ONES, "a"))
    assert (made.nodes.device.type, made.name) == ("meta", "a")

    class Moves:
        device = "cpu"

        def to(self, device):
            self.device = device.type
            return self

    batch = Moves()
    assert (meta_batch(batch).device, batch.device) == ("meta", "cpu")


def test_what_is_no_tensor_stays():
    assert meta_batch(["text", b"bytes", 3, None]) == ["text", b"bytes", 3, None]


def test_a_mapping_that_cannot_be_made_anew_becomes_a_plain_one():
    class Odd(UserDict):
        def __init__(self):
            super().__init__({"x": ONES})

    made = meta_batch(Odd())
    assert type(made) is dict
    assert made["x"].device.type == "meta"
