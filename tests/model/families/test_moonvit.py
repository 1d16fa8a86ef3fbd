"""Kimi-VL against a small module in its authors' names, and the videos of Kimi K2.5 by its encoder alone."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from flopwatch.errors import ConfigError
from flopwatch.lightning.counting.discovery import FoundModel, trainable_of
from flopwatch.measure import measure
from flopwatch.model.backward import training_flops
from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of
from tests.lightning.test_families import Whole
from tests.lightning.test_kinds_of_work import fit
from tests.model.families import kimi_vl
from tests.model.families.composites import build
from tests.model.families.test_composites import parameters_of

SIZES = [(40, [(4, 8), (8, 4)]), (64, [(6, 10), (4, 4), (2, 10)])]


def as_batch(length, sizes):
    return Batch(2, length, grids=tuple((1, *size) for size in sizes))


def test_kimi_vl_has_the_parameters_and_products_of_a_module_in_its_authors_names():
    model, architecture = kimi_vl.KimiVL(), architecture_of(kimi_vl.CONFIG)
    named = dict(model.named_parameters())
    for path, leaf in architecture.named_leaves():
        if leaf.parameters():
            assert parameters_of(named, path, leaf) == leaf.parameters(), path
    assert architecture.parameters() == sum(each.numel() for each in named.values())
    full = architecture.as_reference().with_full_attention()
    for length, sizes in SIZES:
        measured = measure(model, real_data=True, **kimi_vl.batch_of(length, sizes))
        batch = as_batch(length, sizes)
        assert (measured.forward_flops, measured.training_flops) == (
            full.forward_flops(batch),
            training_flops(full, batch),
        )


class Trained(Whole):
    def training_step(self, batch, batch_idx):
        return self.model(**batch).mean()


@pytest.mark.slow
@pytest.mark.parametrize("frozen", ["", "vision_tower", "language_model"])
def test_kimi_vl_is_verified_in_a_real_fit(tmp_path, frozen):
    model = kimi_vl.KimiVL()
    for name, each in model.named_parameters():
        each.requires_grad_(not frozen or not name.startswith(frozen))
    run = fit(tmp_path, Trained(model), [kimi_vl.batch_of(*each) for each in SIZES])
    assert run.work.verification == "verified", run.work.note
    architecture = architecture_of(kimi_vl.CONFIG)
    trainable = trainable_of(FoundModel(architecture, "", model))
    assert run.end.totals.flops == sum(training_flops(architecture, as_batch(*each), trainable) for each in SIZES)


def test_the_frames_of_k25s_clips_see_each_other_and_their_average_is_handed_on():
    model = build("kimi_k25")
    encoders, clip = architecture_of(model.config).encoders(), (3, 4, 8)
    with FlopCounterMode(display=False) as counter:
        seen = model.model.vision_tower(torch.ones(96, 3, 4, 4), torch.tensor([clip])).pooler_output
        model.model.mm_projector(seen)
    assert encoders.forward_flops(Batch(1, 1, grids=(clip,))) == counter.get_total_flops()


def test_videos_that_are_planned_are_cut_into_clips_of_four_frames():
    (tower,) = {
        leaf.rows
        for path, leaf in architecture_of(build("kimi_k25").config).named_leaves()
        if "blocks" not in path and path.endswith("patch_embed.proj")
    }
    # 30 x 17 pixels are 4 x 3 tokens of 8 x 8 pixels, rounded up: 8 x 6 patches.
    assert tower.of(Batch(1, 40, image_size=(30, 17), frames=10)) == ((4, 8, 6), (4, 8, 6), (2, 8, 6))
    assert tower.of(Batch(1, 40, image_size=(30, 17), images=2)) == ((1, 8, 6),) * 2


# As published with the weights, whose files hold 16.4 billion.
A3B = {
    "model_type": "kimi_vl",
    "vision_config": {"model_type": "moonvit", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27}
    | {"num_attention_heads": 16, "patch_size": 14, "init_pos_emb_height": 64, "init_pos_emb_width": 64},
    "text_config": {
        "hidden_size": 2048,
        "intermediate_size": 11264,
        "moe_intermediate_size": 1408,
        "vocab_size": 163840,
    }
    | {"num_hidden_layers": 27, "num_attention_heads": 16, "num_key_value_heads": 16, "n_shared_experts": 2}
    | {"n_routed_experts": 64, "num_experts_per_tok": 6, "first_k_dense_replace": 1, "kv_lora_rank": 512}
    | {"q_lora_rank": None, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128, "n_group": 1}
    | {"topk_group": 1},
}


def test_kimi_vl_a3b_has_its_published_parameters():
    found = architecture_of(A3B)
    assert round(found.parameters() / 1e9, 1) == 16.4
    vision = sum(leaf.parameters() for path, leaf in found.named_leaves() if path.startswith("vision_tower"))
    assert round(vision / 1e6) in range(400, 430), "MoonViT is of 400 million (arXiv 2504.07491)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"merge_kernel_size": [2, 4]}, "'merge_kernel_size'"),
        ({"hidden_size": 90}, "its hidden size 90 is not a multiple of its 4 attention heads"),
    ],
)
def test_a_config_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        architecture_of({**kimi_vl.CONFIG, "vision_config": {**kimi_vl.VISION, **changes}})
