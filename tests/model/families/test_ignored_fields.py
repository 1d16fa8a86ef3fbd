"""Fields that Hugging Face's classes ignore or rename: counted as they take them, or refused by name."""

import pytest
import torch
import transformers

from flopwatch.errors import ConfigError
from flopwatch.model.families import architecture_of
from tests.model.families.families import FAMILIES
from tests.model.families.models import AUTO


def fields_of(name, **changes):
    return {"model_type": FAMILIES[name][0], **FAMILIES[name][2], **changes}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("cohere2", {"head_dim": 32}),
        ("lfm2", {"block_ff_dim": 96}),
        ("lfm2", {"tie_embedding": False}),
        ("exaone4", {"sliding_window_pattern": "LLLG", "layer_types": ["sliding_attention"] * 4 + ["full_attention"]}),
    ],
)
def test_they_count_as_the_class_takes_them(name, changes):
    fields = fields_of(name, **changes)
    config = transformers.AutoConfig.for_model(**fields)
    with torch.device("meta"):
        model = AUTO[FAMILIES[name][1]].from_config(config)
    assert architecture_of(fields).parameters() == model.num_parameters()


@pytest.mark.parametrize(
    ("name", "changes", "field"),
    [
        ("phimoe", {"num_experts_per_tok": 4}, "num_experts_per_tok"),
        ("mpt", {"expansion_ratio": 8}, "expansion_ratio"),
        ("convnext", {"num_stages": 1}, "num_stages"),
    ],
)
def test_what_the_class_would_not_honour_is_refused_by_name(name, changes, field):
    with pytest.raises(ConfigError, match=field):
        architecture_of(fields_of(name, **changes))
