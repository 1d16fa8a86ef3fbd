"""Every head of every family that transformers has a class for: parameters by name, FLOPs by the counter."""

import pytest
import torch
import transformers

from flopwatch.errors import UnknownModelError
from flopwatch.measure import measure
from flopwatch.model.backward import training_flops
from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of
from tests.model.families.families import FAMILIES
from tests.model.families.models import config_of
from tests.model.families.test_composites import parameters_of

pytestmark = pytest.mark.slow
KINDS = ("SequenceClassification", "TokenClassification", "QuestionAnswering", "PreTraining")
BODIES = [name for name, (_, task, _) in FAMILIES.items() if task in ("lm", "mlm")]


def built(name, kind):
    config = config_of(name)
    automatic = getattr(transformers, f"AutoModelFor{kind}")
    if type(config) not in automatic._model_mapping:
        return None
    config.pad_token_id = 0
    config.num_labels = 2 if kind == "QuestionAnswering" else 3
    with torch.device("meta"):
        return automatic.from_config(config, attn_implementation="eager")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BODIES)
def test_a_head_is_part_of_the_closed_form(name, kind):
    model = built(name, kind)
    if model is None:
        pytest.skip("there is no such class")
    values = {**model.config.to_dict(), "architectures": [type(model).__name__]}
    architecture = architecture_of(values)
    assert architecture.parameters() == model.num_parameters()
    named = dict(model.named_parameters(remove_duplicate=False))
    for path, leaf in architecture.named_leaves():
        if leaf.parameters() and f"{path}.weight" in named:
            assert parameters_of(named, path, leaf) == leaf.parameters(), path
    batch, reference = Batch(2, 40), architecture.as_reference().with_full_attention()
    measured = measure(model, input_ids=torch.ones(2, 40, dtype=torch.long))
    assert measured.forward_flops == reference.forward_flops(batch)
    assert measured.training_flops == training_flops(reference, batch)


def test_a_head_that_is_not_known_is_measured_instead():
    with pytest.raises(UnknownModelError, match="BertForMultipleChoice, which has no closed form"):
        architecture_of({**config_of("bert").to_dict(), "architectures": ["BertForMultipleChoice"]})
