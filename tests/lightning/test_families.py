"""Every family in a real fit, at full depth, with its own weights and kernels: verified by the batches that run."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from flopwatch.lightning.counting.discovery import FoundModel, checkpointing_of, trainable_of
from flopwatch.model.backward import recomputation, training_flops
from flopwatch.model.families import architecture_of
from tests.lightning.test_kinds_of_work import Model, fit
from tests.model.families.families import FAMILIES
from tests.model.families.models import batch_of, build, config_of, inputs_of

pytestmark = pytest.mark.slow


class Whole(Model):
    def training_step(self, batch, batch_idx):
        out = self.model(**batch)
        return (out.logits if hasattr(out, "logits") else out[0]).float().mean()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_verified_in_a_real_fit(tmp_path, name):
    torch.manual_seed(0)
    batch = batch_of(name, 40)
    run = fit(tmp_path, Whole(real(name)), [inputs_of(name, batch)] * 2)
    assert run.work.verification == "verified", run.work.note
    assert run.end.totals.counts.flops == 2 * training_flops(architecture_of(config_of(name)), batch)


def real(name):
    return build(name, attention="sdpa", device="cpu") or build(name, attention="eager", device="cpu")


def half_frozen(model):
    """Embeddings and the lower half of every stack of layers do not train."""
    for each in model.modules():
        if isinstance(each, nn.Embedding):
            each.requires_grad_(False)
        if isinstance(each, nn.ModuleList) and len(each) > 1:
            for layer in list(each)[: len(each) // 2]:
                layer.requires_grad_(False)
    return model


# PEFT refuses the output matrices of Mamba, and breaks routers that are linear layers with another result.
NOT_ADAPTED = {
    **dict.fromkeys(("mamba", "falcon_mamba", "mamba2", "falcon_h1", "nemotron_h"), ("out_proj",)),
    **dict.fromkeys(("phimoe", "llama4_text"), ("router",)),
}


def lora(model):
    """LoRA on all linear layers, and on the experts where PEFT takes them for such."""
    peft = pytest.importorskip("peft")
    left_out = list(NOT_ADAPTED.get(model.config.model_type, ())) or None
    return peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules="all-linear", exclude_modules=left_out))


def checkpointed(model):
    return _checkpointed(model, reentrant=False)


def checkpointed_reentrant(model):
    return _checkpointed(model, reentrant=True)


def checkpointed_lora(model):
    model = checkpointed(model)
    model.enable_input_require_grads()
    return lora(model)


def _checkpointed(model, reentrant):
    if not model.supports_gradient_checkpointing:
        pytest.skip("this class has no checkpointing")
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    return model


WAYS = {each.__name__: each for each in (half_frozen, lora, checkpointed, checkpointed_reentrant, checkpointed_lora)}
# Swin checkpoints layers within stages that are checkpointed, so that layers run three times.
NESTED = {"swin"}
FITTED = ("half_frozen", "lora", "checkpointed")


@pytest.mark.parametrize("way", FITTED)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_verified_partly_frozen_adapted_and_checkpointed(tmp_path, name, way):
    torch.manual_seed(0)
    model, batch = WAYS[way](real(name)), batch_of(name, 40)
    run = fit(tmp_path, Whole(model), [inputs_of(name, batch)] * 2)
    assert run.work.verification == "verified", run.work.note
    architecture = architecture_of(config_of(name))
    trainable, kind = told(architecture, model)
    flops = training_flops(architecture, batch, trainable)
    assert run.end.totals.counts.flops == 2 * flops
    hardware = None
    if name not in NESTED or kind == "none":
        hardware = 2 * (flops + recomputation(architecture, batch, kind, trainable).flops)
    assert run.end.totals.counts.hardware_flops == hardware


def told(architecture, model):
    found = FoundModel(architecture, "", model)
    return trainable_of(found), checkpointing_of(model)


# Products that torch's own counter does not know (grouped experts) or counts wrongly (depthwise convolutions).
UNKNOWN_TO_TORCH = {
    *(
        "mixtral",
        "qwen2_moe",
        "qwen3_moe",
        "olmoe",
        "granitemoe",
        "phimoe",
        "deepseek_v2",
        "deepseek_v3",
        "deepseek_v32",
    ),
    *(
        "gpt_oss",
        "glm4_moe",
        "ernie4_5_moe",
        "minimax",
        "minimax_m2",
        "jamba",
        "nemotron_h",
        "granitemoehybrid",
        "qwen3_next",
    ),
    *(
        "mamba",
        "falcon_mamba",
        "mamba2",
        "bamba",
        "falcon_h1",
        "qwen3_5_text",
        "qwen3_5_moe_text",
        "recurrent_gemma",
        "lfm2",
        "convnext",
        "parakeet_ctc",
    ),
}
JUDGED = [
    name for name in FAMILIES if FAMILIES[name][0] not in UNKNOWN_TO_TORCH | NESTED and name != "gemma4_text-experts"
]
# Reentrant checkpoints pass gradients through their positional arguments alone: not to keys that layers share, and
# a graph that layers share, as DeBERTa's normed positions, is freed by the first of them. Gemma 3n adds in place.
ACROSS_LAYERS = ("shared-keys", "deberta", "gemma3n")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", JUDGED)
def test_what_a_way_of_training_runs_equals_torchs_own_counter(name, way):
    """A judge that is not ours counts what runs, recomputation included."""
    model, batch = WAYS[way](build(name, attention="eager", device="cpu")), batch_of(name, 40)
    if way == "checkpointed_reentrant" and any(each in name for each in ACROSS_LAYERS):
        pytest.skip("the class loses gradients between layers, or fails")
    with FlopCounterMode(display=False) as counter:
        Whole(model).training_step(inputs_of(name, batch), 0).backward()
    architecture = architecture_of(config_of(name)).as_reference().with_full_attention()
    trainable, kind = told(architecture, model)
    trainable = trainable.as_reference()
    expected = training_flops(architecture, batch, trainable)
    assert counter.get_total_flops() == expected + recomputation(architecture, batch, kind, trainable).flops
