import pytest
import torch
import transformers
from torch import nn

from flopwatch.batch import Batch
from flopwatch.lightning.discovery import find_model, has_head
from flopwatch.lightning.looking import Probe, reconcile
from flopwatch.lightning.shapes import is_plain, shape_of
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
    assert (shape_of(batch), is_plain(batch)) == expected


def probe_seeing(*shapes):
    model = TinyGPT()
    probe = Probe(find_model(model, None))
    probe.attach()
    for shape in shapes:
        model(torch.zeros(*shape, dtype=torch.long))
    probe.detach()
    model(torch.zeros(5, 5, dtype=torch.long))
    return probe


def test_the_probe_sees_what_the_model_is_fed_and_returns_while_it_is_attached():
    probe = probe_seeing((2, 4), (3, 6))
    assert probe.seen == [Batch(2, 4), Batch(3, 6)]
    assert probe.saw_logits


def test_the_probe_does_not_see_passes_without_gradients():
    model = TinyGPT()
    probe = Probe(find_model(model, None))
    probe.attach()
    with torch.no_grad():
        model(LONG)
    assert probe.seen == []


@pytest.mark.parametrize(
    ("counted", "seen", "shorter_by"),
    [
        (Batch(2, 8), [Batch(2, 8)], 0),
        (Batch(2, 9), [Batch(2, 8)], 1),
        (Batch(2, 10), [Batch(2, 8)], None),
        (Batch(3, 8), [Batch(2, 8)], None),
        (Batch(2, 8), [Batch(2, 8), Batch(2, 8)], None),
        (Batch(2, 8), [], None),
        (None, [Batch(2, 8)], None),
    ],
)
def test_the_batch_and_what_was_seen_are_reconciled(counted, seen, shorter_by):
    found, sentence = reconcile(counted, seen)
    assert found == shorter_by
    assert ("batch_shape" in sentence) == (shorter_by is None)


def test_nothing_is_hooked_inside_a_compiled_module():
    model = TinyGPT()
    model.blocks[0] = torch.compile(model.blocks[0], backend="eager")
    probe = Probe(find_model(model, None))
    probe.attach()
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def without_its_layer():
    model = TinyGPT()
    del model.lm_head
    return model


@pytest.mark.parametrize(
    ("make", "known"),
    [
        (lambda config: transformers.GPT2LMHeadModel(config), True),
        (lambda config: TinyGPT(), True),
        (lambda config: without_its_layer(), None),
    ],
)
def test_a_tied_head_must_be_there_to_be_counted(make, known):
    config = transformers.GPT2Config(vocab_size=32, n_positions=32, n_embd=8, n_layer=2, n_head=2)
    outer = nn.Module()
    outer.model = make(config)
    found = find_model(outer, None)
    assert found.architecture.parameters() == sum(parameter.numel() for parameter in outer.model.parameters())
    assert has_head(found) is known


def test_a_model_in_any_child_is_found():
    outer = nn.Module()
    outer.decoder = TinyGPT()
    assert find_model(outer, None).where == "module.decoder.config"
    outer.model = TinyGPT()
    assert find_model(outer, None).where == "module.model.config"
