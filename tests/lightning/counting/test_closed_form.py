"""Batches by the closed form of a model's config, with what was seen of them made up."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from flopwatch.errors import ConfigError, MeasurementError
from flopwatch.lightning.counting.batches import BatchReader
from flopwatch.lightning.counting.closed_form import ClosedForm, ClosedFormCounter
from flopwatch.lightning.counting.counter import Cost, Pattern, Seen, Subject, Warnings
from flopwatch.lightning.counting.discovery import FoundModel, find_model, trainable_of
from flopwatch.lightning.counting.lengths import LateLengths
from flopwatch.measure.results import Measurement
from flopwatch.measure.watching import StepCounter
from flopwatch.model.backward import EVERYTHING, Trainable, TrainingStep, recomputation, training_flops
from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of
from flopwatch.run.counts import Counts
from tests.lightning.models import FLOPS_PER_BATCH, TinyGPT
from tests.model.families import models as families
from tests.model.families.composites import COMPOSITES, build, cases

TOKENS = torch.zeros(2, 16, dtype=torch.long)
PAIR = (TOKENS, TOKENS)
PLAIN, FROZEN = Pattern(0, 1, 0), Pattern(1, 1, 0)
# Over all 256 pairs of each sequence and layer the core is 2 heads x (4 + 4) x 2 x 256 = 8,192: two layers 16,384.
FORWARD = 2 * (57_344 + 16_384)


def seen(forward=FORWARD, backward=2 * FORWARD, again=0, causal=None):
    """A batch that ran so much over all pairs, and by default less under its causal mask."""
    causal = FLOPS_PER_BATCH // 3 if causal is None else causal
    counted = Measurement(causal, 2 * causal, again, "causal")
    return Seen(counted, Measurement(forward, backward, again, "full"))


def counter(batch=PAIR, look=None, batch_shape=None, model=None, dtype=None):
    model = model or TinyGPT()
    found = find_model(model, None)
    reader = BatchReader(batch_shape, found.architecture.inputs)
    subject = Subject(model, "causal", reader, LateLengths(), False, Warnings(), lambda: dtype)
    return ClosedFormCounter(subject, found, "the parameters are equal", batch, look or seen(), PLAIN)


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


def test_what_a_watched_batch_bears_out_is_verified():
    one = counter()
    assert one.work.verification == "verified"
    assert one.work.note == "the parameters are equal; equal to a watched batch, to the FLOP"
    assert (one.work.training_flops, one.work.tokens, one.work.model_type) == (FLOPS_PER_BATCH, 32, "gpt2")
    assert sum(row.forward_flops for row in one.work.components) == one.work.forward_flops == FLOPS_PER_BATCH // 3
    assert one.count(PAIR, None, PLAIN) == Counts(FLOPS_PER_BATCH, 32, 2, FLOPS_PER_BATCH, None)
    assert one.at_the_end() is one.work


def test_a_last_token_that_is_a_target_alone_is_found_out_and_kept_in_mind():
    longer = torch.zeros(2, 17, dtype=torch.long)
    one = counter(longer)
    assert (one.work.seq_len, one.work.training_flops) == (16, FLOPS_PER_BATCH)
    assert one.count(longer, None, PLAIN).tokens == 32
    assert one.count(torch.zeros(2, 1, dtype=torch.long), None, PLAIN) == Counts(samples=2)


def test_what_ran_otherwise_is_refused_with_both_numbers():
    with pytest.raises(ConfigError, match=r"the step ran 100 FLOPs with all attention pairs, .* of gpt2 gives 442,368"):
        counter(look=seen(40, 60))
    with pytest.raises(ConfigError, match="the step ran"):
        counter(look=Seen(seen().counted, replace(seen().all_pairs, unseen=("w",))))


def test_recomputation_that_the_config_does_not_know_of_leaves_hardware_flops_unknown():
    one = counter(look=seen(again=5))
    assert (one.work.training_flops, one.work.hardware_flops) == (FLOPS_PER_BATCH, None)


def test_a_batch_that_nobody_watched_is_counted_where_it_is_sure_what_the_model_is_fed():
    one = counter(look=MeasurementError("torch is too old"))
    assert one.work.verification == "formula only"
    assert one.work.note.endswith("; no batch could be watched as a check: torch is too old")
    with pytest.raises(ConfigError, match="too old, and the batch may not be what the model receives"):
        counter(TOKENS, MeasurementError("torch is too old"))
    assert counter(TOKENS, MeasurementError("no"), lambda batch: (2, 16)).work.seq_len == 16


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (
            {"input_ids": TOKENS, "attention_mask": torch.ones(2, 1, 16, 16)},
            "which flopwatch does not read, so all pairs of mask tensors count",
        ),
        ("text", r"found no model input in the batch; pass FlopWatch\(batch_shape=...\)"),
        ((TOKENS[:0], TOKENS[:0]), "found no model input in the batch"),
    ],
)
def test_a_batch_that_the_shape_does_not_tell_is_not_counted_by_it(batch, said):
    with pytest.raises(ConfigError, match=said):
        counter(batch)


def joined(name, batch=None):
    """A counter of a joined model that nobody watches, and its first batch."""
    model = build(name)
    _, inputs = next(cases(name, model))
    inputs = {key: each for key, each in inputs.items() if key != "use_cache"}
    return counter(batch or inputs, MeasurementError("no"), model=model), inputs


def test_an_object_a_tuple_and_a_video_are_not_taken_for_text_alone(caplog):
    one, inputs = joined("llava")
    flops = one.count(inputs, None, PLAIN).flops
    assert flops == training_flops(one._form(PLAIN).architecture, COMPOSITES["llava"][2][0])
    assert one.count(SimpleNamespace(**inputs), None, PLAIN).flops == flops
    assert one.count((inputs["input_ids"], inputs["pixel_values"]), None, PLAIN).flops is None
    video = {**inputs, "pixel_values_videos": torch.ones(1, 8, 3, 32, 32)}
    assert one.count(video, None, PLAIN).flops is None
    assert "the shape of a batch is unknown" in caplog.text


def test_tuples_whose_later_tensors_differ_are_not_taken_for_one_another():
    one, inputs = joined("llava")
    ids = inputs["input_ids"]
    text = one.count((ids, ids), None, PLAIN).flops
    assert text == training_flops(one._form(PLAIN).architecture, Batch(*ids.shape, images=0))
    assert one.count((ids, inputs["pixel_values"]), None, PLAIN).flops is None


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        # A row of grids for every sequence, and sizes that are none.
        ("qwen2_vl", {"image_grid_thw": torch.tensor([[[1, 4, 8]], [[1, 8, 4]]])}),
        ("llava_next", {"image_sizes": torch.zeros(2, 2, dtype=torch.long)}),
        ("llava_next", {"image_sizes": torch.ones(2, 3, dtype=torch.long)}),
        ("llava_next", {"batch_num_images": torch.tensor([1, 1, 1])}),
        # Which of two tiles a sequence are padding, only the mask would tell.
        ("idefics3", {"pixel_attention_mask": None}),
    ],
)
def test_sizes_that_cannot_be_read_are_watched_not_counted(name, changes, caplog):
    one, inputs = joined(name)
    changed = {key: each for key, each in {**inputs, **changes}.items() if each is not None}
    assert one.count(changed, None, PLAIN).flops is None
    assert "the sizes of a batch's images cannot be read" in caplog.text
    with pytest.raises(ConfigError, match="found no model input"):
        joined(name, changed)


def test_later_batches_that_cannot_be_read_are_unknown_and_empty_ones_are_no_work(caplog):
    one = counter()
    for _ in range(2):
        assert one.count("text", None, PLAIN) == Counts(None, None, None, None, None)
        assert one.count((TOKENS[:, :0], TOKENS[:, :0]), None, PLAIN) == Counts(samples=2)
    assert caplog.text.count("the shape of a batch is unknown") == 1
    assert caplog.text.count("a batch without tokens (2 x 0) counts as no work") == 1


def test_packed_documents_count_within_themselves_unless_the_model_is_not_told():
    packed = {"input_ids": TOKENS[:1], "position_ids": torch.cat([torch.arange(10), torch.arange(6)])[None]}
    one = counter()
    within = FLOPS_PER_BATCH // 2 - 3 * 64 * 60
    assert one.count(packed, None, PLAIN).flops == within
    # Seen is less than all pairs: a causal mask alone, so documents see each other.
    half = seen(FORWARD // 2, FORWARD, causal=FLOPS_PER_BATCH // 6)
    assert one.objection(packed, half, PLAIN) is None
    assert one.count(packed, None, PLAIN).flops == FLOPS_PER_BATCH // 2


def test_a_later_batch_that_ran_something_else_is_an_objection():
    one = counter()
    assert one.objection(PAIR, seen(), PLAIN) is None
    assert one.objection(PAIR, seen(100, 200), PLAIN) == (
        "the step no longer matches its closed form: 300 FLOPs, not 442,368"
    )
    assert one.objection((TOKENS[:, :0], TOKENS[:, :0]), seen(100, 200), PLAIN) is None, "of no tokens nothing is said"


def test_a_later_batch_that_cannot_be_read_is_watched_and_counted_by_what_ran():
    one = counter()
    assert (one.knows(PAIR, PLAIN), one.knows("text", PLAIN)) == (True, False)
    assert one.objection("text", seen(100, 200), PLAIN) == "the shape of a batch does not say what the model is fed"
    nothing_complete = Seen(seen().counted, replace(seen().all_pairs, unseen=("w",)))
    assert one.objection("text", nothing_complete, PLAIN) is None


def test_other_parameters_that_train_and_cannot_be_told_by_name_are_refused():
    model = TinyGPT()
    one = counter(model=model)
    assert (one.knows(PAIR, PLAIN), one.knows(PAIR, FROZEN)) == (True, False)
    model.blocks.requires_grad_(False)
    with pytest.raises(ConfigError, match="so the model parts they belong to are unknown"):
        one.count((TOKENS[:1], TOKENS[:1]), None, FROZEN)
    assert one.count(PAIR, None, PLAIN).flops == FLOPS_PER_BATCH


def test_sizes_that_cost_speed_are_told_in_the_precision_of_tensor_cores():
    # Of 132,096 forward FLOPs 114,688 are in products with a side of 8, 17,408 are attention with heads of 4.
    told = counter(dtype="bf16").work.shape_advice
    assert told[0].startswith("a size of 8 (transformer.h.attn, transformer.h.mlp, lm_head) is a multiple of 8, but")
    assert told[0].endswith("64 is, and 86.8% of the forward FLOPs are in it")
    assert "head size of 4" in told[-1]
    assert "13.2% of the forward FLOPs are attention" in told[-1]
    assert counter(dtype="fp32").work.shape_advice == counter().work.shape_advice == ()


def test_of_a_model_with_frozen_parts_no_sizes_are_told():
    assert form().shape_advice(Batch(2, 16), "bf16")
    assert form(trainable=Trainable(frozenset({"lm_head.weight"}))).shape_advice(Batch(2, 16), "bf16") == ()
