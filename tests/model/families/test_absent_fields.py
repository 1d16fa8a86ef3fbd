"""Config files leave fields out: then the closed form takes Hugging Face's default, or says which field it needs.

For every family and every field of its config, the field is dropped and set to null; what the closed form makes of the
dict must be what it makes of the config that transformers completes from it.
"""

import copy

import pytest
import transformers

from flopwatch.errors import ConfigError
from flopwatch.model.backward import training_flops
from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of
from tests.model.families.composites import COMPOSITES
from tests.model.families.families import FAMILIES

ALL = {name: (model_type, fields) for name, (model_type, _, fields) in FAMILIES.items()}
ALL |= {name: (model_type, fields) for name, (model_type, fields, _) in COMPOSITES.items()}
BATCH = Batch(2, 6000, 500, image_size=(224, 224), clips=2)
# transformers 5 ties T5's head whatever the config says; the published T5 1.1 has a head of its own.
KNOWN = {
    ("t5", "tie_word_embeddings"),
    ("umt5", "tie_word_embeddings"),
    ("t5-v1.1-style", "tie_word_embeddings"),
    ("t5-v1.1-style", "feed_forward_proj"),
}
# transformers 5 says that these tie their head, and keeps the two matrices that their published checkpoints have.
UNTIED = ("mistral3", "internvl", "internvl-large", "deepseek_vl", "kimi_k25", "granite_speech")
KNOWN |= {(name, "tie_word_embeddings") for name in (*UNTIED, "granite_speech-asking-always")}


def counted(config):
    """Parameters, forward and training FLOPs, masked and full; or the refusal."""
    try:
        architecture = architecture_of(config)
    except ConfigError as error:
        return str(error)
    full = architecture.with_full_attention()
    return (
        architecture.parameters(),
        training_flops(architecture, BATCH),
        architecture.forward_flops(BATCH),
        full.forward_flops(BATCH),
    )


def variants(values):
    """Every field dropped, every field null, also inside of parts."""
    for key, value in values.items():
        if key in ("model_type", "architectures"):
            continue
        yield key, {name: each for name, each in values.items() if name != key}
        if value is not None:
            yield key, {**values, key: None}
        if isinstance(value, dict) and key.endswith("_config"):
            for inner in value:
                if inner != "model_type":
                    yield inner, {**values, key: {name: each for name, each in value.items() if name != inner}}


def names(values):
    """The names of all fields, those inside of parts, too."""
    for key, value in values.items():
        yield key
        if isinstance(value, dict):
            yield from names(value)


@pytest.mark.parametrize("name", ALL)
def test_an_absent_or_null_field_is_the_default_or_is_named(name):
    model_type, fields = ALL[name]
    values = transformers.AutoConfig.for_model(model_type, **copy.deepcopy(fields)).to_dict()
    values.pop("architectures", None)
    compared = 0
    for source in (values, {"model_type": model_type, **fields}):
        for field, changed in variants(source):
            ours = counted(changed)
            if isinstance(ours, str):
                assert any(f"'{name}'" in ours or f"{name}=" in ours for name in (field, *names(values))), ours
                continue
            try:
                rest = {key: value for key, value in copy.deepcopy(changed).items() if key != "model_type"}
                completed = transformers.AutoConfig.for_model(model_type, **rest)
            except Exception:
                continue  # transformers itself refuses it
            if (name, field) in KNOWN or (model_type == "t5" and source is not values):
                continue
            assert ours == counted(completed), (field, changed.get(field))
            compared += 1
    assert compared > 10 or model_type == "t5"
