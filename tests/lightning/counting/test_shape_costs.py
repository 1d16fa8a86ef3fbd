"""What shapes cost by the closed form, against whole walks through the architecture."""

from dataclasses import replace

import pytest
import torch

from flopwatch.lightning.counting.counter import Cost
from flopwatch.lightning.counting.discovery import FoundModel, find_model, trainable_of
from flopwatch.lightning.counting.shape_costs import ClosedForm
from flopwatch.measure.watching import StepCounter
from flopwatch.model.backward import EVERYTHING, Trainable, TrainingStep, recomputation, training_flops
from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of
from tests.lightning.models import FLOPS_PER_BATCH, TinyGPT
from tests.model.families import models as families
from tests.model.families.composites import COMPOSITES

# Over all 256 pairs of each sequence and layer the core is 2 heads x (4 + 4) x 2 x 256 = 8,192: two layers 16,384.
FORWARD = 2 * (57_344 + 16_384)


def form(attention="causal", trainable=EVERYTHING, checkpointing="none"):
    return ClosedForm(find_model(TinyGPT(), None).architecture, attention, trainable, checkpointing)


def test_a_shape_costs_forward_and_backward_and_as_it_runs_all_pairs():
    assert form().cost(Batch(2, 16)) == Cost(FLOPS_PER_BATCH, FLOPS_PER_BATCH, FLOPS_PER_BATCH // 3)
    assert form("full").cost(Batch(2, 16)).flops == form().as_it_runs(Batch(2, 16))[0] == 3 * FORWARD
    assert form().forward_cost(Batch(2, 16)) == Cost(*[FLOPS_PER_BATCH // 3] * 3)


def test_documents_cost_what_each_would_alone_though_the_code_runs_all():
    packed = Batch(1, 16, documents=(10, 6))
    # Of the core 10 x 11 / 2 + 6 x 7 / 2 = 76 pairs in place of 136, 64 FLOPs each, forward; three times that.
    assert form().cost(packed).flops == FLOPS_PER_BATCH // 2 - 3 * 64 * 60
    assert form().as_it_runs(packed) == form().as_it_runs(Batch(1, 16))
    assert form().by_convention(packed) == {}


@pytest.mark.parametrize(
    "name", ["qwen2_5_vl", "qwen3_vl", "mistral3", "lfm2_vl", "gemma4", "gemma4-hears", "phi4_multimodal"]
)
@pytest.mark.parametrize("trainable", [EVERYTHING, Trainable(frozenset({"model.language_model.embed_tokens.weight"}))])
def test_images_of_many_sizes_cost_what_each_does(name, trainable):
    model_type, fields, batches = COMPOSITES[name]
    architecture = architecture_of({"model_type": model_type, **fields})
    one = ClosedForm(architecture, "causal", trainable, "non-reentrant")
    for batch in (*batches, *reversed(batches), replace(batches[0], grids=batches[1].grids[::-1])):
        flops = training_flops(architecture, batch, trainable)
        again = recomputation(architecture, batch, "non-reentrant", trainable).flops
        forward = architecture.forward_flops(batch)
        assert one.cost(batch) == Cost(flops, flops + again, forward)
        assert one.forward_cost(batch) == Cost(forward, forward, forward)


@pytest.mark.parametrize("name", ["qwen3_vl", "mistral3", "lfm2_vl"])
def test_a_batch_of_sizes_that_were_seen_before_is_looked_up(name, monkeypatch):
    model_type, fields, (batch, other) = COMPOSITES[name]
    one = ClosedForm(architecture_of({"model_type": model_type, **fields}), "causal", EVERYTHING, "none")
    for each in (batch, other):
        one.cost(each)
    walks = count_walks(monkeypatch)
    for each in (batch, other):
        one.cost(each), one.forward_cost(each)
    assert walks == []
    one.cost(replace(batch, grids=((1, 2, 8), *batch.grids)))
    assert [len(walked.components) < len(one.architecture.components) for walked in walks] == [True]


def test_an_image_size_that_changes_with_every_batch_walks_through_the_encoder_alone(monkeypatch):
    model_type, fields, (batch, _) = COMPOSITES["mistral3"]
    one = ClosedForm(architecture_of({"model_type": model_type, **fields}), "causal", EVERYTHING, "none")
    one.cost(batch)
    walks = count_walks(monkeypatch)
    for side in (80, 96, 112):
        one.cost(replace(batch, image_size=(side, side)))
    assert [len(walked.components) < len(one.architecture.components) for walked in walks] == [True] * 3


def count_walks(monkeypatch):
    """The architectures that are walked through from now on."""
    walks, flops = [], TrainingStep.flops

    def counted(step, batch):
        walks.append(step.architecture)
        return flops(step, batch)

    monkeypatch.setattr(TrainingStep, "flops", counted)
    return walks


def test_a_forward_pass_alone_through_adapted_experts_is_what_runs():
    peft = pytest.importorskip("peft")
    model = families.build("mixtral", attention="eager", device="cpu")
    model = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules="all-linear"))
    architecture, batch = architecture_of(families.config_of("mixtral")), families.batch_of("mixtral", 40)
    trainable = trainable_of(FoundModel(architecture, "", model))
    assert any(each.reference > 1 for each in trainable.adapters.values()), "PEFT multiplies those once more"
    ran = StepCounter(model)
    ran.start()
    with torch.no_grad():
        model(**families.inputs_of("mixtral", batch))
    ran.stop()
    one = ClosedForm(architecture, "causal", trainable, "none")
    assert one.as_it_runs(batch, forward_only=True) == (ran.result("full").forward_flops, 0)


def test_where_checkpointing_is_not_known_hardware_flops_are_not():
    assert form(checkpointing=None).cost(Batch(2, 16)) == Cost(FLOPS_PER_BATCH, None, FLOPS_PER_BATCH // 3)
    assert form(checkpointing=None).as_it_runs(Batch(2, 16))[1] is None


def test_others_count_where_everything_trains():
    assert form().by_convention(Batch(2, 16))["model"] == FLOPS_PER_BATCH
    frozen = Trainable(frozenset({"lm_head.weight"}))
    assert form(trainable=frozen).by_convention(Batch(2, 16)) == {}


def test_of_a_model_with_frozen_parts_no_sizes_are_told():
    assert form().shape_advice(Batch(2, 16), "bf16")
    assert form(trainable=Trainable(frozenset({"lm_head.weight"}))).shape_advice(Batch(2, 16), "bf16") == ()
