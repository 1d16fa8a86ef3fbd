"""Configs as people keep them."""

import pytest

from flopwatch.errors import ConfigError
from flopwatch.model.families import architecture_of
from flopwatch.model.families.config import read_mapping
from tests.model.families.families import FAMILIES


class Config:
    """As in scripts that keep everything on a class."""

    model_type = "gpt2"
    n_embd, n_layer, n_head, n_positions, vocab_size = 768, 12, 12, 1024, 50257

    @property
    def head_size(self):
        return self.n_embd // self.n_head

    def describe(self):
        return "a config"


class Shallow(Config):
    n_layer = 6


class Own(Config):
    def __init__(self):
        self.n_layer = 6


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        # GPT-2 as published has 124,439,808 parameters; a layer 12 x 768 x 768 weights, 13 x 768 in biases and norms.
        (Config, 124_439_808),
        (Config(), 124_439_808),
        (Shallow, 124_439_808 - 6 * (12 * 768 * 768 + 13 * 768)),
        (Shallow(), 124_439_808 - 6 * (12 * 768 * 768 + 13 * 768)),
        (Own(), 124_439_808 - 6 * (12 * 768 * 768 + 13 * 768)),
    ],
)
def test_attributes_of_a_class_are_a_config_and_the_nearest_value_counts(config, parameters):
    assert architecture_of(config).parameters() == parameters


def test_methods_and_properties_are_no_values():
    assert set(read_mapping(Config())) == {"model_type", "n_embd", "n_layer", "n_head", "n_positions", "vocab_size"}


def test_a_number_in_place_of_kinds_of_positions_is_refused():
    config = {"model_type": "deberta-v2", **FAMILIES["deberta-v2"][2], "pos_att_type": 1}
    with pytest.raises(ConfigError, match=r"needs a list such as \['p2c', 'c2p'\] for 'pos_att_type', got 1"):
        architecture_of(config)
