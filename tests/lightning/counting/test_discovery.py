import pytest
import transformers
from torch import nn

from flopwatch.lightning.counting.discovery import find_model, has_head
from tests.lightning.models import TinyGPT


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
