"""Every closed form against an independent count: a run of the real Hugging Face class on the meta device.

The counter sees every product and neither masks nor windows, so it is compared with the `full` attention convention;
what masks keep is proved in `tests/test_batch.py`. Where Hugging Face's code does more than the model asks for
(`Leaf.reference`), the two are compared as that code runs; `docs/conventions.md` lists those places.
"""

import json
import re

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from flopwatch.errors import UnknownModelError
from flopwatch.measure import measure
from flopwatch.model.backward import training_flops
from flopwatch.model.batch import Batch
from flopwatch.model.components import Leaf, Norm
from flopwatch.model.conventions import by_convention
from flopwatch.model.families import ARCHITECTURES, architecture_of
from tests.model.families.composites import COMPOSITES
from tests.model.families.families import FAMILIES, GATED
from tests.model.families.models import batch_of, build, config_of, inputs_of

pytestmark = pytest.mark.slow

LENGTHS = (64, 100)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", FAMILIES)
def test_forward_and_backward_equal_the_counter_to_the_integer(name, attention):
    model = build(name, attention=attention)
    if model is None:
        pytest.skip("this class has no such attention")
    architecture = architecture_of(model.config).as_reference().with_full_attention()
    for seq_len in LENGTHS:
        batch = batch_of(name, seq_len)
        measured = measure(model, **inputs_of(name, batch))
        assert measured.complete, measured.uncounted
        expected = architecture.forward_flops(batch), training_flops(architecture, batch)
        assert (measured.forward_flops, measured.training_flops) == expected


@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_equal_the_models_one_by_one(name):
    """Not only the sum: every part's parameters are the live model's of that name."""
    model = build(name)
    architecture = architecture_of(model.config)
    assert architecture.parameters() == model.num_parameters()
    named = dict(model.named_parameters(remove_duplicate=False))
    for path, leaf in architecture.named_leaves():
        if not leaf.parameters():
            continue
        found = named.get(path if leaf.bare else f"{path}.weight")
        if found is None:  # norms per head (StableLM) stand under one name with a number each
            own = [each for key, each in named.items() if re.fullmatch(re.escape(path) + r"\.\d+\.weight", key)]
            assert isinstance(leaf, Norm)
            assert sum(each.numel() for each in own) == leaf.parameters()
            continue
        bias = named.get(f"{path}_bias" if leaf.bare else f"{path}.bias")
        has_bias = getattr(leaf, "bias", False)
        weight = 0 if getattr(leaf, "tied", None) else found.numel()
        assert weight + (bias.numel() if has_bias else 0) == leaf.parameters(), path


def test_the_tokens_of_one_image_see_each_other_forwards():
    architecture = architecture_of({"model_type": "gemma3", **COMPOSITES["gemma3"][1]})
    # Three images of four tokens: in each, 4 * 3 / 2 = 6 pairs more than causal. Every pair costs 2 FLOPs x 4 heads
    # x (32 + 32) = 512 in each of 3 layers. Windows of 16 do not reach beyond 12 tokens.
    text_only = Batch(1, 12, image_size=(32, 32), images=0)
    core = [
        row for row in architecture.rows(text_only) if row.name.endswith("self_attn.core") and "language" in row.name
    ]
    assert sum(row.forward_flops for row in core) == 3 * 512 * 12 * 13 // 2
    with_images = Batch(1, 12, image_size=(32, 32), images=3)
    core = [row for row in architecture.rows(with_images) if row.name.endswith("core") and "language" in row.name]
    assert sum(row.forward_flops for row in core) == 3 * 512 * (12 * 13 // 2 + 3 * 6)


REAL_CONFIGS = {
    "GPT-2": (
        "gpt2",
        {"vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12},
        124_439_808,
    ),
    "Llama-3-8B": (
        "llama",
        {"vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32}
        | {"num_attention_heads": 32, "num_key_value_heads": 8},
        8_030_261_248,
    ),
    "Gemma-3-27B": (
        "gemma3_text",
        {"vocab_size": 262208, "hidden_size": 5376, "intermediate_size": 21504, "num_hidden_layers": 62}
        | {"num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 128, "sliding_window": 1024},
        27_009_346_304,
    ),
}


@pytest.mark.parametrize("name", REAL_CONFIGS)
def test_published_models_equal_torchs_own_counter_to_the_integer(name):
    """A judge that is not ours: for dense models torch's FlopCounterMode has no blind spot on the meta device."""
    model_type, fields, parameters = REAL_CONFIGS[name]
    config = transformers.AutoConfig.for_model(model_type, **fields)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    batch = Batch(1, 1024)
    architecture = architecture_of({"model_type": model_type, **fields})
    assert architecture.parameters() == model.num_parameters() == parameters
    mask = torch.zeros(1, 1, 1024, 1024, device="meta")
    masks = {"full_attention": mask, "sliding_attention": mask}
    inputs = {
        "input_ids": torch.zeros(1, 1024, dtype=torch.long, device="meta"),
        "position_ids": torch.arange(1024, device="meta")[None],
        "attention_mask": masks if getattr(config, "layer_types", None) else mask,
    }
    with FlopCounterMode(display=False) as counter:
        model(**inputs, use_cache=False).logits.sum().backward()
    assert training_flops(architecture.with_full_attention(), batch) == counter.get_total_flops()


def test_every_architecture_is_judged():
    judged = {model_type for model_type, _, _ in FAMILIES.values()} | {each[0] for each in COMPOSITES.values()}
    # Kimi K2 is DeepSeek V3 under another name; DiT has no class in transformers (see test_dit.py); DBRX's cannot run
    # on the meta device (see test_dbrx.py); torchvision has ResNets of its own (see test_torchvision.py).
    # NeoBERT and Kimi-VL have no class either (see test_neobert.py, test_moonvit.py); Gemma 3n's takes timm (see
    # test_gemma_towers.py). Of the whole Omni models it is their thinkers that are judged.
    others = {"kimi_k2", "dit", "dbrx", "torchvision_resnet", "neobert", "qwen2_5_omni", "qwen3_omni_moe", "kimi_vl"}
    assert judged | {"gemma3n"} == set(ARCHITECTURES) - others


@pytest.mark.parametrize("name", FAMILIES)
def test_a_config_object_and_its_dict_and_its_file_say_the_same(name, tmp_path):
    config = config_of(name)
    config.save_pretrained(tmp_path)
    assert architecture_of(config) == architecture_of(config.to_dict()) == architecture_of(tmp_path)


@pytest.mark.parametrize(
    ("name", "global_layers"),
    [
        ("gemma2", 1),
        ("gemma3_text", 1),
        ("qwen2-window", 1),
        ("mistral", 0),
        ("mixtral-window", 0),
        ("olmo3", 1),
        ("cohere2", 1),
        ("exaone4", 1),
        ("gpt_oss", 2),
        ("starcoder2", 0),
    ],
)
def test_windows_sit_on_the_layers_that_transformers_gives_them(name, global_layers):
    config = config_of(name)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
    assert kinds.count("full_attention") == global_layers
    # One layer's two products at T = 40: 2 * heads * (e + v) * pairs. With window 16: 16 * 17 / 2 + 24 * 16 = 520
    # pairs, globally 40 * 41 / 2 = 820 pairs.
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_pair = 2 * config.num_attention_heads * 2 * head_dim
    expected = per_pair * (520 * kinds.count("sliding_attention") + 820 * global_layers)
    assert core_flops(architecture_of(config), Batch(1, 40)) == expected


def core_flops(architecture, batch):
    return sum(row.forward_flops for row in architecture.rows(batch) if row.name.endswith("core"))


def test_chunks_local_heads_and_picked_keys_by_hand():
    # Llama 4: chunks of 32 at T = 40 keep 32 * 33 / 2 + 8 * 9 / 2 = 564 pairs in 3 layers, 820 in the last one.
    # 2 FLOPs x 4 heads x 2 x 24 = 384 a pair.
    assert core_flops(architecture_of(config_of("llama4_text")), Batch(1, 40)) == 384 * (3 * 564 + 820)
    # GPT-Neo: window 256 by default, here 16, on every other of 4 layers; 2 x 4 heads x 2 x 16 = 256 a pair.
    assert core_flops(architecture_of(config_of("gpt_neo")), Batch(1, 40)) == 256 * (2 * 820 + 2 * 520)
    # ModernBERT: 16 / 2 = 8 to each side: 40 * 17 - 8 * 9 = 608 pairs in layers 1 and 2, all 1600 in layers 0 and 3.
    assert core_flops(architecture_of(config_of("modernbert")), Batch(1, 40)) == 256 * (2 * 608 + 2 * 1600)
    # DeepSeek V3.2: the indexer scores 820 pairs with 2 heads of 20 + 1, the attention sees 16 of them:
    # 520 pairs x 2 x 4 heads x (24 + 12).
    assert core_flops(architecture_of(config_of("deepseek_v32")), Batch(1, 40)) == 3 * (820 * 2 * 2 * 21 + 520 * 288)


def test_longt5s_tokens_see_what_lies_within_the_radius_and_the_sums_of_blocks():
    """Twenty tokens on both sides, four heads of 20: a pair costs 2 x 2 x 4 x 20 = 320 FLOPs.

    Radius 9: 20 x 19 - 9 x 10 = 290 pairs in three layers; the decoder has two of 210 causal pairs and of 20 x 20. With
    sums there are three of six tokens: 60 pairs more a layer. The code lets two filled blocks of 10 see 30 each.
    """
    batch = Batch(1, 20, 20)
    local, everywhere = (architecture_of(config_of(name)) for name in ("longt5", "longt5-transient-global"))
    assert core_flops(local, batch) == 320 * (3 * 290 + 2 * (210 + 400))
    assert core_flops(everywhere, batch) == 320 * (3 * (290 + 60) + 2 * (210 + 400))
    more = local.as_reference().forward_flops(batch) - local.forward_flops(batch)
    assert more == 320 * 3 * (2 * 10 * 30 - 290)


def test_t5gemmas_windows_lie_before_a_token_in_the_decoder_and_around_it_in_the_encoder():
    """Ten tokens on both sides. Encoder, a radius of 2: 3 + 4 + 6 * 5 + 4 + 3 = 44 pairs. Decoder: 1 + 2 + 8 * 3 = 27.

    A pair costs 2 * 2 * 4 heads * 24 = 384 FLOPs; each side has one more layer of all or all causal pairs, and the
    decoder's two attend to all pairs of both.
    """
    sizes = {"hidden_size": 64, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "head_dim": 24, "vocab_size": 9}
    sides = {"encoder": {**sizes, "sliding_window": 2}, "decoder": {**sizes, "sliding_window": 3}}
    model = architecture_of({"model_type": "t5gemma", **sides})
    assert core_flops(model, Batch(1, 10, 10)) == 384 * (44 + 100 + 27 + 55 + 2 * 100)
    assert "chinchilla" not in by_convention(model, Batch(1, 10, 10))  # it knows of one table of words


def test_what_reference_code_does_beyond_the_model_is_not_counted():
    batch = Batch(2, 64)
    # Llama 4: two of four layers route; the reference runs 4 experts where 1 is active: 3 more x 3 x 64 x 176 x 2.
    llama4 = architecture_of(config_of("llama4_text"))
    more = llama4.as_reference().forward_flops(batch) - llama4.forward_flops(batch)
    assert more == 2 * 128 * 3 * (3 * 64 * 176) * 2
    # Mamba: 2 layers; 3 more outputs of a convolution of 4 over 128 channels, and a product by C of 128 x 8 a token.
    mamba = architecture_of(config_of("mamba"))
    more = mamba.as_reference().forward_flops(batch) - mamba.forward_flops(batch)
    assert more == 2 * (2 * 3 * 4 * 128 * 2 + 128 * 2 * 128 * 8)


def test_published_sizes_of_big_models():
    def billions(model_type, **fields):
        architecture = architecture_of({"model_type": model_type, **fields})
        return round(architecture.parameters() / 1e9, 2), round(architecture.active_parameters() / 1e9, 2)

    # 671B with 37B active (arXiv 2412.19437), the multi-token prediction module left out.
    deepseek = {
        "hidden_size": 7168,
        "intermediate_size": 18432,
        "moe_intermediate_size": 2048,
        "num_hidden_layers": 61,
        "num_attention_heads": 128,
        "n_shared_experts": 1,
        "n_routed_experts": 256,
        "kv_lora_rank": 512,
        "q_lora_rank": 1536,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "qk_nope_head_dim": 128,
        "num_experts_per_tok": 8,
        "first_k_dense_replace": 3,
        "vocab_size": 129280,
    }
    assert billions("deepseek_v3", **deepseek) == (671.03, 37.55)
    # Mixtral 8x7B: 46.7B and 12.9B (arXiv 2401.04088).
    mixtral = {**GATED, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "vocab_size": 32000}
    mixtral |= {"num_attention_heads": 32, "num_key_value_heads": 8, "num_local_experts": 8, "num_experts_per_tok": 2}
    assert billions("mixtral", **mixtral) == (46.7, 12.88)
    # gpt-oss-120b: 116.83B, 5.13B active without the embedding's lookup of 0.58B (arXiv 2508.10925, table 1).
    oss = {"hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": 36, "num_attention_heads": 64}
    oss |= {"num_key_value_heads": 8, "head_dim": 64, "num_local_experts": 128, "num_experts_per_tok": 4}
    total, active = billions("gpt_oss", **oss, vocab_size=201088)
    assert (total, round(active - 0.58, 2)) == (116.83, 5.13)


def test_published_sizes_of_gemma_4():
    """The text models of 31B, 26B-A4B and E4B: 30.7, 25.2 (3.8 active) and 7.5 billion (fairseq2's page of Gemma 4)."""
    gemma = {"model_type": "gemma4_text", "vocab_size": 262144, "head_dim": 256, "global_head_dim": 512}
    large = {**gemma, "attention_k_eq_v": True, "hidden_size_per_layer_input": 0, "sliding_window": 1024}
    dense = {**large, "hidden_size": 5376, "intermediate_size": 21504, "num_hidden_layers": 60}
    dense |= {"num_attention_heads": 32, "num_key_value_heads": 16, "num_global_key_value_heads": 4}
    mixture = {**large, "hidden_size": 2816, "intermediate_size": 2112, "num_hidden_layers": 30}
    mixture |= {"num_attention_heads": 16, "num_key_value_heads": 8, "num_global_key_value_heads": 2}
    mixture |= {"enable_moe_block": True, "num_experts": 128, "top_k_experts": 8, "moe_intermediate_size": 704}
    small = {**gemma, "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 42}
    small |= {"num_attention_heads": 8, "num_key_value_heads": 2, "num_kv_shared_layers": 18}
    models = [architecture_of(each) for each in (dense, mixture, small)]
    assert [round(each.parameters() / 1e9, 1) for each in models] == [30.7, 25.2, 7.5]
    assert round(models[1].active_parameters() / 1e9, 1) == 3.8


def test_gemma_4s_saved_configs_number_layers_with_leading_zeros():
    """Twelve layers of which the sixth and the last are global, saved by transformers: 16 more a head and global layer.

    Queries, keys, values and the output have 4 + 2 + 2 + 4 heads of 64 x 16 more, two norms 16.
    """
    sizes = {"hidden_size": 64, "intermediate_size": 8, "num_hidden_layers": 12, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "head_dim": 24, "vocab_size": 9, "hidden_size_per_layer_input": 0}
    wide, narrow = (
        json.loads(
            transformers.AutoConfig.for_model("gemma4_text", **sizes, global_head_dim=each).to_json_string(
                use_diff=False
            )
        )
        for each in (40, 24)
    )
    assert list(wide["per_layer_config"]) == ["05", "11"]
    more = architecture_of(wide).parameters() - architecture_of(narrow).parameters()
    assert more == 2 * (12 * 64 * 16 + 2 * 16)


def test_published_sizes_of_parakeet():
    """Parakeet's models for CTC of 0.6 and 1.1 billion, of 24 and 42 layers (their pages on the hub)."""
    encoder = {"hidden_size": 1024, "num_attention_heads": 8, "intermediate_size": 4096, "num_mel_bins": 80}

    def billions(layers):
        sizes = {**encoder, "num_hidden_layers": layers, "layerdrop": 0.0}
        model = {"model_type": "parakeet_ctc", "vocab_size": 1025, "encoder_config": sizes}
        return round(architecture_of(model).parameters() / 1e9, 1)

    assert (billions(24), billions(42)) == (0.6, 1.1)


def test_layers_that_are_left_out_at_random_have_no_closed_form():
    encoder = config_of("parakeet_ctc").encoder_config.to_dict()
    for layers in ({"layerdrop": 0.1}, {}):
        changed = {**{key: each for key, each in encoder.items() if key != "layerdrop"}, **layers}
        said = r"leaves layers out at random \(layerdrop=.*set layerdrop to 0 to count all of them"
        with pytest.raises(UnknownModelError, match=said):
            architecture_of({"model_type": "parakeet_ctc", "vocab_size": 40, "encoder_config": changed})


def test_published_sizes_of_deberta():
    """Millions beside the embedding and of it, as its authors tell: v3 base 86 and 98, large 304 and 131."""
    deberta = {"model_type": "deberta-v2", "vocab_size": 128100, "position_buckets": 256, "relative_attention": True}
    deberta |= {"share_att_key": True, "pos_att_type": "p2c|c2p", "norm_rel_ebd": "layer_norm"}
    deberta |= {"type_vocab_size": 0, "position_biased_input": False, "max_position_embeddings": 512}

    def millions(hidden, layers, heads):
        sizes = {"hidden_size": hidden, "intermediate_size": 4 * hidden, "num_hidden_layers": layers}
        model = architecture_of({**deberta, **sizes, "num_attention_heads": heads})
        body = sum(leaf.parameters() * exist for leaf, _, exist in model.leaves() if not leaf.name.startswith("cls"))
        return body / 1e6 - 0.1281 * hidden, 0.1281 * hidden

    base, large = millions(768, 12, 12), millions(1024, 24, 16)
    assert base == pytest.approx((86, 98), rel=0.01)
    assert large == pytest.approx((304, 131), rel=0.01)


def test_leaves_that_are_nothing_but_wiring_have_no_lines():
    architecture = architecture_of(config_of("gpt2"))
    assert any(type(leaf) is Leaf for leaf, _, _ in architecture.leaves())
    assert all("dropout" not in row.name for row in architecture.rows(Batch(1, 8)))
