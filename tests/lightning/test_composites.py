"""Every joined model in real fits: everything trained, encoders frozen, adapters, checkpointed; sizes that differ."""

import pytest
import torch

from flopwatch.lightning.counting.discovery import FoundModel, checkpointing_of, trainable_of
from flopwatch.model.backward import recomputation, training_flops
from flopwatch.model.families import architecture_of
from tests.lightning.test_families import Whole, checkpointed, half_frozen
from tests.lightning.test_kinds_of_work import fit
from tests.model.families.composites import COMPOSITES, build, cases, config_of

pytestmark = pytest.mark.slow
BETWEEN = ("projector", "merger", "connector", "aligner", "modality_projection", "embed_vision", "embed_audio")
BETWEEN += ("img_projection", "extensor", "proj_for")
ENCODERS = (
    "vision_tower",
    "visual",
    "vision_model",
    "audio_tower",
    "audio_model",
    "img_processor",
    "audio_embed.encoder",
)


def everything(model):
    return model


def frozen_encoders(model):
    """Only projectors and text train, as in a first stage of training."""
    for name, each in model.named_parameters():
        each.requires_grad_(not any(f"{encoder}." in name for encoder in ENCODERS) or "merger" in name)
    return model


def projector_alone(model):
    """Nothing but what lies between encoder and text trains."""
    for name, each in model.named_parameters():
        each.requires_grad_(any(part in name for part in BETWEEN))
    return model


def lora(model):
    """LoRA on all linear layers, those of the encoders, too, which PEFT takes for such."""
    peft = pytest.importorskip("peft")
    left_out = ["router"] if model.config.model_type == "llama4" else None
    linear = "all-linear"
    if model.config.model_type == "qwen3_omni_moe_thinker":  # whose layers are called by numbers, as other parts are
        linear = r".*\.((q|k|v|o|out)_proj|qkv|proj[12]?|(linear_)?fc[12]|conv_out)"
    return peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=linear, exclude_modules=left_out))


def lora_of_text(model):
    """LoRA on attention in the text model alone, as most recipes have it."""
    peft = pytest.importorskip("peft")
    pattern = r"(.*(language_model|text_model).*|model\.layers.*)\.(q_proj|v_proj|q_b_proj|qkv_proj)"
    return peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=pattern))


WAYS = {
    each.__name__: each
    for each in (everything, frozen_encoders, projector_alone, half_frozen, lora, lora_of_text, checkpointed)
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", COMPOSITES)
def test_a_joined_model_is_verified_in_a_real_fit(tmp_path, name, way):
    torch.manual_seed(0)
    model = build(name, attention=None)  # as the class has it by default: fused where it can
    batches = list(cases(name, model))
    model = WAYS[way](model)
    run = fit(tmp_path, Whole(model), [inputs for _, inputs in batches] * 2)
    assert run.work.verification == "verified", run.work.note
    architecture = architecture_of(config_of(name))
    trainable, kind = told(architecture, model)
    flops = [training_flops(architecture, batch, trainable) for batch, _ in batches]
    assert run.end.totals.flops == 2 * sum(flops)
    assert run.end.totals.tokens == 2 * sum(batch.sequences * batch.seq_len for batch, _ in batches)
    again = [recomputation(architecture, batch, kind, trainable).flops for batch, _ in batches]
    assert run.end.totals.hardware_flops == 2 * (sum(flops) + sum(again))


def told(architecture, model):
    found = FoundModel(architecture, "", model)
    return trainable_of(found), checkpointing_of(model)


def test_a_later_batch_with_images_under_another_name_is_counted_by_what_ran(tmp_path):
    class Renamed(Whole):
        def training_step(self, batch, batch_idx):
            given = {name: each for name, each in batch.items() if name != "photos"}
            pixels = {"pixel_values": batch["photos"]} if "photos" in batch else {}
            return super().training_step({**given, **pixels}, batch_idx)

    model = build("llava", attention="sdpa")
    (batch, inputs), (other, renamed) = cases("llava", model)
    renamed["photos"] = renamed.pop("pixel_values")
    run = fit(tmp_path, Renamed(model), [inputs, renamed, inputs, renamed])
    assert run.work.verification == "watched", run.work.note
    architecture = architecture_of(config_of("llava"))
    assert run.end.totals.flops == 2 * (training_flops(architecture, batch) + training_flops(architecture, other))
