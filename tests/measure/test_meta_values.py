"""Whole numbers have values beside floating point numbers without, wherever code wants them to be."""

import pytest
import torch

from flopwatch.measure.meta import META
from flopwatch.measure.meta_values import BuiltWithValues, WholeNumbers
from flopwatch.model.backward import training_flops
from flopwatch.model.families import architecture_of
from tests.model.families.composites import COMPOSITES, config_of

WIDE = torch.empty(3, 4, device="meta")


@pytest.fixture
def values():
    with WholeNumbers(), BuiltWithValues():
        yield


@pytest.mark.usefixtures("values")
def test_what_is_made_of_whole_numbers_has_values():
    assert torch.arange(3, device=META).tolist() == [0, 1, 2]
    assert torch.full((2,), 7, device=META).tolist() == [7, 7]
    assert torch.tensor([4, 5], device=META).tolist() == [4, 5]
    assert (torch.arange(4).to(META) * 2).cumsum(0).tolist() == [0, 2, 6, 12]
    assert torch.zeros(2, 3).is_meta
    assert torch.empty(2, dtype=torch.long).is_meta


@pytest.mark.usefixtures("values")
def test_masks_with_values_pick_from_what_has_none():
    mask = torch.tensor([True, False, True])
    assert WIDE[mask].shape == (2, 4)
    assert WIDE[:, torch.tensor([True, False, False, True])].shape == (3, 2)
    assert WIDE.masked_select(mask[:, None]).shape == (8,)
    WIDE[mask] = 1.0
    assert WIDE.masked_scatter(mask[:, None], torch.zeros(8)).shape == (3, 4)
    assert (WIDE + torch.arange(4)).is_meta


@pytest.mark.usefixtures("values")
def test_large_masks_are_shapes_alone():
    positions = torch.arange(2**13)
    assert (positions[:, None] >= positions[None]).is_meta
    assert not (positions[:64, None] >= positions[None, :64]).is_meta


@pytest.mark.usefixtures("values")
def test_masks_of_tokens_pick_features_however_many_there_are():
    """Of 2 x 3 tokens with 2^22 features each, 25 million values, four are picked."""
    words = torch.tensor([[1, 5, 5], [5, 1, 5]])
    states = torch.empty(2, 3, 2**22, device=META)
    mask = (words == 5).unsqueeze(-1).expand_as(states).to(META)
    assert states[mask].shape == (4 * 2**22,)
    assert states.masked_scatter(mask, torch.zeros(4, 2**22)).is_meta


def test_what_is_chosen_without_values_is_chosen_equally_often():
    scores = torch.empty(4, 6, device="meta")
    with WholeNumbers(choices=True), BuiltWithValues():
        values, places = scores.topk(3)
        assert values.is_meta
        assert places.tolist() == [[0, 1, 2], [3, 4, 5], [0, 1, 2], [3, 4, 5]]
        assert scores.argmax(-1).tolist() == [0, 1, 2, 3]
    with WholeNumbers(), BuiltWithValues():
        assert scores.argmax(-1).is_meta


@pytest.mark.usefixtures("values")
def test_gradients_go_where_values_pick():
    table = torch.nn.Parameter(torch.zeros(5, 4))
    picked = torch.nn.functional.embedding(torch.tensor([[1, 2, 2]]), table)
    picked[picked.new_zeros(1, 3, dtype=torch.bool)].sum().backward()
    assert table.grad.is_meta
    assert table.grad.shape == (5, 4)


@pytest.mark.slow
# Idefics' classes look for tiles whose pixels are all zero; Llama 4's run every expert, as its reference does.
@pytest.mark.parametrize("name", sorted(set(COMPOSITES) - {"idefics3", "smolvlm"}))
def test_a_joined_model_costs_without_values_what_its_closed_form_says(name):
    import json

    from flopwatch.measure.huggingface import build, measured

    config = config_of(name)
    model = build({**json.loads(config.to_json_string(use_diff=False)), "architectures": None})
    architecture = architecture_of(config).as_reference().with_full_attention()
    for batch in COMPOSITES[name][2]:
        seen = measured(model, batch, "full")
        assert seen.training_flops == training_flops(architecture, batch)
        assert (seen.uncounted, seen.assumptions) == ((), ())
