import pytest
import torch
from torch import nn

from flopwatch.components import Batch
from flopwatch.lightning.discovery import InputProbe, find_model, reconcile, shape_of
from tests.lightning.models import TinyGPT

LONG = torch.zeros(3, 8, dtype=torch.long)


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        ({"input_ids": LONG, "labels": LONG}, (Batch(3, 8), True)),
        ((LONG, LONG), (Batch(3, 8), True)),
        ([LONG, LONG], (Batch(3, 8), True)),
        ((LONG, LONG[:, :1]), (Batch(3, 8), False)),
        (LONG, (Batch(3, 8), False)),
        (LONG.int(), (Batch(3, 8), False)),
        (LONG.float(), (None, False)),
        (LONG.bool(), (None, False)),
        (LONG[0], (None, False)),
        (LONG[:0], (Batch(0, 8), False)),
        ({"pixel_values": LONG}, (None, False)),
        ((), (None, False)),
        (None, (None, False)),
        ("text", (None, False)),
        (7, (None, False)),
    ],
    ids=str,
)
def test_shapes_of_batches(batch, expected):
    assert shape_of(batch) == expected


def probe_seeing(*shapes):
    model = TinyGPT()
    probe = InputProbe(find_model(model, None))
    for shape in shapes:
        model(torch.zeros(*shape, dtype=torch.long))
    probe.remove()
    model(torch.zeros(5, 5, dtype=torch.long))
    return probe


def test_the_probe_sees_what_the_model_is_fed_until_it_is_removed():
    assert probe_seeing((2, 4), (3, 6)).seen == [Batch(2, 4), Batch(3, 6)]


def test_the_probe_does_not_see_passes_without_gradients():
    model = TinyGPT()
    probe = InputProbe(find_model(model, None))
    with torch.no_grad():
        model(LONG)
    assert probe.seen == []


@pytest.mark.parametrize(
    ("counted", "sure", "seen", "shorter_by"),
    [
        (Batch(2, 8), False, [(2, 8)], 0),
        (Batch(2, 9), False, [(2, 8)], 1),
        (Batch(2, 10), False, [(2, 8)], None),
        (Batch(3, 8), True, [(2, 8)], None),
        (Batch(2, 8), True, [(2, 8), (2, 8)], None),
        (Batch(2, 8), True, [], 0),
        (Batch(2, 8), False, [], None),
        (None, False, [(2, 8)], None),
    ],
)
def test_the_batch_and_what_was_seen_are_reconciled(counted, sure, seen, shorter_by):
    found, sentence = reconcile(counted, sure, probe_seeing(*seen))
    assert found == shorter_by
    assert ("batch_shape" in sentence) == (shorter_by is None)


def test_nothing_is_hooked_inside_a_compiled_module():
    model = TinyGPT()
    model.blocks[0] = torch.compile(model.blocks[0], backend="eager")
    probe = InputProbe(find_model(model, None))
    assert not probe.active
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_model_in_any_child_is_found():
    outer = nn.Module()
    outer.decoder = TinyGPT()
    assert find_model(outer, None).where == "module.decoder.config"
    outer.model = TinyGPT()
    assert find_model(outer, None).where == "module.model.config"
