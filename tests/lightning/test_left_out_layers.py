"""Layers that are left out at random: what is watched is what ran, whichever layers that were."""

import pytest
import torch
import transformers

from flopwatch.model.backward import training_flops
from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of
from tests.lightning.test_families import Whole
from tests.lightning.test_kinds_of_work import fit
from tests.model.families.families import CONFORMER

pytestmark = pytest.mark.slow
CTC = {"vocab_size": 40, "pad_token_id": 39}
BATCH = Batch(2, source_len=120)


def with_layers(layers):
    config = {**CONFORMER, "num_hidden_layers": layers}
    return training_flops(architecture_of({"model_type": "parakeet_ctc", **CTC, "encoder_config": config}), BATCH)


def test_each_batch_counts_the_layers_that_it_ran(tmp_path):
    torch.manual_seed(1)
    encoder = {**CONFORMER, "layerdrop": 0.5}
    config = transformers.AutoConfig.for_model("parakeet_ctc", **CTC, encoder_config=encoder)
    model = transformers.AutoModelForCTC.from_config(config)
    ran = []
    for layer in model.encoder.layers:
        layer.register_forward_hook(lambda *_: ran.append(1))
    run = fit(tmp_path, Whole(model), [{"input_features": torch.zeros(2, 120, 16)}] * 20)
    assert run.work.verification == "watched"
    assert "leaves layers out at random (layerdrop=0.5)" in run.work.note
    one = with_layers(2) - with_layers(1)
    assert 0 < len(ran) < 60
    assert run.end.totals.flops == 20 * (with_layers(1) - one) + len(ran) * one
