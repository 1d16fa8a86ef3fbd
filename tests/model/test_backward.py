"""What training costs beyond the forward, against runs of real models in which autograd itself decides."""

import time

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from flopwatch.lightning.counting.discovery import FoundModel, trainable_of
from flopwatch.measure import measure
from flopwatch.model.architecture import Architecture, Group, Stack
from flopwatch.model.backward import (
    Adapter,
    Trainable,
    added_forward_flops,
    newton_schulz_flops,
    recomputation,
    training_flops,
)
from flopwatch.model.batch import Batch
from flopwatch.model.components import AttentionCore, Experts, Linear
from flopwatch.model.families import architecture_of
from tests.model.families.families import FAMILIES
from tests.model.families.models import batch_of, build, config_of, inputs_of

CHAIN = Architecture(
    "chain",
    (
        Linear("first", 4, 6, reads=("data",)),
        Linear("second", 6, 5),
        Linear("third", 5, 3),
    ),
)


@pytest.mark.parametrize(
    ("frozen", "products"),
    [
        # Forward, weight gradient, input gradient of each layer; the first one's input is data and has none.
        ((), [2, 3, 3]),
        (("first.weight",), [1, 2, 3]),
        (("second.weight",), [2, 2, 3]),
        (("third.weight",), [2, 3, 2]),
        (("first.weight", "second.weight"), [1, 1, 2]),
        (("second.weight", "third.weight"), [2, 2, 2]),
        (("first.weight", "second.weight", "third.weight"), [1, 1, 1]),
    ],
)
def test_gradients_are_computed_where_something_upstream_trains(frozen, products):
    sizes = [4 * 6, 6 * 5, 5 * 3]
    expected = sum(2 * 7 * size * times for size, times in zip(sizes, products, strict=True))
    assert training_flops(CHAIN, Batch(1, 7), Trainable(frozenset(frozen))) == expected


def test_attention_has_the_gradients_of_what_flows_into_it():
    def attention(*frozen):
        layers = (
            Linear("q", 8, 8, reads=("data",), writes="q"),
            Linear("k", 8, 8, reads=("data",), writes="k"),
            Linear("v", 8, 8, reads=("data",), writes="v"),
            AttentionCore("core", 2, 4, 4),
        )
        names = frozenset(f"{name}.weight" for name in frozen)
        return training_flops(Architecture("a", layers), Batch(1, 3), Trainable(names))

    linear, product = 2 * 3 * 64, 2 * 2 * 4 * 6  # 6 causal pairs, 2 heads of 4
    forward = 3 * linear + 2 * product
    assert attention() == forward + 3 * linear + 4 * product
    # Only v trains: the output's gradient goes to v alone. Only q trains: to the scores, and from them to q.
    assert attention("q", "k") == forward + linear + product
    assert attention("k", "v") == forward + linear + 2 * product


FREEZES = {
    "embedding": lambda model: model.get_input_embeddings().requires_grad_(False),
    "first half": lambda model: [
        each.requires_grad_(False) for name, each in model.named_parameters() if ".0." in name or "embed" in name
    ],
    "all but the head": lambda model: [
        each.requires_grad_(False)
        for name, each in model.named_parameters()
        if not name.startswith(("lm_head", "classifier"))
    ],
    "all but the last norm": lambda model: [
        each.requires_grad_(False)
        for name, each in model.named_parameters()
        if name not in ("model.norm.weight", "transformer.ln_f.weight")
    ],
    "matrices": lambda model: [each.requires_grad_(False) for each in model.parameters() if each.dim() > 1],
    "attention": lambda model: [
        each.requires_grad_(False) for name, each in model.named_parameters() if "attn" in name or "attention" in name
    ],
    "only keys": lambda model: [
        each.requires_grad_(False) for name, each in model.named_parameters() if ".k_proj." not in name
    ],
}
PARTLY_FROZEN = [
    *((name, freeze) for name in ("llama", "qwen2_moe", "glm4_moe") for freeze in FREEZES),
    *((name, freeze) for name in ("deepseek_v3", "gemma3_text") for freeze in ("embedding", "first half", "attention")),
    *((name, "matrices") for name in ("gpt2", "vit", "qwen3_next", "mamba2")),
    ("t5", "embedding"),
    ("gpt2", "embedding"),
    ("bert", "attention"),
    ("resnet", "all but the head"),
    ("vit", "all but the head"),
]


@pytest.mark.parametrize(("name", "freeze"), PARTLY_FROZEN)
def test_partly_frozen_models_cost_what_autograd_computes(name, freeze):
    model = build(name)
    FREEZES[freeze](model)
    architecture = architecture_of(model.config)
    trainable = trainable_of(FoundModel(architecture, "", model))
    reference = architecture.as_reference().with_full_attention()
    for seq_len in (64, 100):
        batch = batch_of(name, seq_len)
        assert training_flops(reference, batch, trainable) == measure(model, **inputs_of(name, batch)).training_flops


@pytest.mark.parametrize("inputs", [False, True])
@pytest.mark.parametrize("target", [["q_proj", "v_proj"], "all-linear", ["down_proj"]])
def test_lora_by_peft_costs_what_autograd_computes(target, inputs):
    peft = pytest.importorskip("peft")
    model = transformers.LlamaForCausalLM(config_of("llama"))
    if inputs:
        model.enable_input_require_grads()
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=target, task_type="CAUSAL_LM"))
    architecture = architecture_of(config_of("llama")).with_full_attention()
    trainable = trainable_of(FoundModel(architecture, "", adapted))
    assert {each.rank for each in trainable.adapters.values()} == {4}
    assert trainable.inputs == ({"model.embed_tokens"} if inputs else set())
    for seq_len in (64, 100):
        batch = Batch(2, seq_len)
        measured = measure(adapted, **inputs_of("llama", batch))
        assert training_flops(architecture, batch, trainable) == measured.training_flops
        added = added_forward_flops(architecture, batch, trainable)
        assert architecture.forward_flops(batch) + added == measured.forward_flops


def test_an_adapter_by_hand():
    # Frozen 8 -> 6 on 5 rows of data: forward 480. Rank 2: down 8 -> 2 is 160, up 2 -> 6 is 120; both have weight
    # gradients, the up layer's input has one, the down layer's is data.
    architecture = Architecture("a", (Linear("l", 8, 6, reads=("data",)),))
    trainable = Trainable(frozenset({"l.weight"}), {"l": Adapter(2)})
    assert training_flops(architecture, Batch(1, 5), trainable) == 480 + 2 * 160 + 3 * 120


CHECKPOINTED = ["llama", "gpt2", "gemma2", "olmo2", "qwen2_moe", "deepseek_v3", "falcon", "opt", "bert", "vit", "t5"]
CHECKPOINTED += ["mpt", "llama4_text", "deepseek_v32"]


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("name", CHECKPOINTED)
def test_checkpointing_recomputes_what_pytorch_recomputes(name, reentrant):
    model = build(name)
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    architecture = architecture_of(model.config).as_reference().with_full_attention()
    batch = batch_of(name, 64)
    measured = measure(model, **inputs_of(name, batch))
    kind = "reentrant" if reentrant else "non-reentrant"
    assert measured.training_flops == training_flops(architecture, batch)
    assert measured.recomputed_flops == recomputation(architecture, batch, kind).flops
    assert measured.hardware_flops > measured.training_flops


def test_recomputation_by_hand():
    # Two layers of attention (one product pair) and two matrices: all of it again, or all but the last matrix.
    layer = Group("", (Linear("a", 4, 4), AttentionCore("core", 1, 4, 4, reads=("x", "x", "x")), Linear("b", 4, 6)))
    architecture = Architecture("m", (Stack("layers", (layer,), (0, 0)), Linear("head", 6, 9)))
    batch = Batch(1, 3)
    a, core, b = 2 * 3 * 16, 2 * 8 * 6, 2 * 3 * 24
    assert recomputation(architecture, batch).flops == 0
    assert recomputation(architecture, batch, "reentrant").flops == 2 * (a + core + b)
    assert recomputation(architecture, batch, "non-reentrant").flops == 2 * (a + core)
    # Flash attention computes the scores, half of the core, once more in the backward: a line of its own.
    with_flash = recomputation(architecture, batch, "none", flash_attention=True)
    assert (with_flash.checkpointing, with_flash.attention) == (0, 2 * core // 2)


def test_branches_side_by_side_do_not_read_what_each_other_wrote():
    # On 3 rows of a constant: the first branch trains, the second reads the constant all the same and is frozen.
    first = Linear("a", 4, 4), Linear("b", 4, 4)
    both = Group("", (Group("", first), Group("", (Linear("c", 4, 4),))), side_by_side=True)
    trainable = Trainable(frozenset({"c.weight", "d.weight"}))
    architecture = Architecture("m", (both, Linear("d", 4, 4)))
    product = 2 * 3 * 16
    # Forward 4; a trains (1), b trains and passes on (2), c nothing, d passes on to the sum (1).
    assert training_flops(architecture, Batch(1, 3), trainable) == (4 + 1 + 2 + 0 + 1) * product
    one_after_another = Architecture("m", (*first, Linear("c", 4, 4), Linear("d", 4, 4)))
    assert training_flops(one_after_another, Batch(1, 3), trainable) == (4 + 1 + 2 + 1 + 1) * product


def test_a_layers_inner_values_end_with_it():
    # The stream of the first tower trains; the second tower's layer has values of the same name, which are constant.
    def tower(name, stream):
        layer = Group(
            "", (Linear("up", 4, 4, reads=(stream,), writes="h"), Linear("down", 4, 4, reads=("h",), writes=stream))
        )
        return Stack(name, (layer,), (0,))

    frozen = frozenset({"b.0.up.weight", "b.0.down.weight"})
    architecture = Architecture("m", (tower("a", "x"), tower("b", "image")))
    assert training_flops(architecture, Batch(1, 3), Trainable(frozen)) == (4 + 1 + 2) * 2 * 3 * 16


def test_recomputation_of_partly_frozen_layers_by_hand():
    # Two layers of three matrices. In the first only b trains: its input must be kept, and so a is run again, while b
    # itself and c, which keeps its weight for the gradient that passes it, end the second run before they begin.
    layer = Group("", tuple(Linear(name, 4, 4) for name in "abc"))
    architecture = Architecture("m", (Stack("layers", (layer,), (0, 0)),))
    batch, product = Batch(1, 3), 2 * 3 * 16

    def again(kind, *train):
        names = {f"layers.{index}.{name}.weight" for index in (0, 1) for name in "abc"}
        return recomputation(architecture, batch, kind, Trainable(frozenset(names - set(train)))).flops / product

    assert again("non-reentrant", "layers.0.b.weight") == 2 + 2
    assert again("non-reentrant", "layers.1.b.weight") == 2
    assert again("non-reentrant", "layers.1.a.weight") == 2
    assert again("reentrant", "layers.1.a.weight") == 3
    assert again("non-reentrant") == again("reentrant") == 0
    # An adapter of rank 1 at the end: down, 2 * 3 * 4, is run again with what stands before it, up is not.
    names = frozenset(f"layers.{index}.{name}.weight" for index in (0, 1) for name in "abc")
    trainable = Trainable(names, {"layers.1.c": Adapter(1)})
    assert recomputation(architecture, batch, "non-reentrant", trainable).flops == 3 * product + 2 * 3 * 4


def test_an_adapter_that_goes_into_the_weight_by_hand():
    # Two experts of 8 -> 6, one of them for each of 5 rows of data: 480 forward, as much for the weight's gradient,
    # which the adapter needs. Its product, of rank 2 for each expert, is 2 * 6 * 8 * 4 = 384 and has two gradients.
    architecture = Architecture("a", (Experts("e", 8, 6, 2, 1, reads=("data",), bare=True),))
    trainable = Trainable(frozenset({"e"}), {"e": Adapter(2 * 2, into_weight=True, reference=2)})
    assert training_flops(architecture, Batch(1, 5), trainable) == 2 * 480 + 3 * 384
    assert training_flops(architecture, Batch(1, 5), trainable.as_reference()) == 2 * 480 + 4 * 384
    assert added_forward_flops(architecture, Batch(1, 5), trainable) == 384


def test_newton_schulz_by_running_it():
    matrix = torch.zeros(24, 40, device="meta", requires_grad=True)

    class Iterations(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.matrix = torch.nn.Parameter(matrix)

        def forward(self):
            x = self.matrix
            for _ in range(5):
                a = x @ x.T
                x = 3.4 * x + (-4.8 * a + 2.0 * a @ a) @ x
            return x

    assert newton_schulz_flops([(24, 40)]) == measure(Iterations()).forward_flops
    assert newton_schulz_flops([(40, 24), (24, 40)]) == 2 * newton_schulz_flops([(24, 40)])


@given(st.sampled_from(sorted(FAMILIES)), st.integers(1, 3), st.integers(8, 150))
def test_books_balance_for_every_family(name, sequences, seq_len):
    architecture = architecture_of(config_of(name))
    batch = batch_of(name, max(seq_len, 30), sequences)
    rows = architecture.rows(batch)
    assert sum(row.forward_flops for row in rows) == architecture.forward_flops(batch)
    assert sum(row.parameters for row in rows) == architecture.parameters()
    assert sum(row.active_parameters for row in rows) == architecture.active_parameters() <= architecture.parameters()
    forward, training = architecture.forward_flops(batch), training_flops(architecture, batch)
    # Only solving the delta rule's triangular systems has a backward of three times the forward.
    assert 2 * forward <= training <= (4 if "qwen3_next" in name or "qwen3_5" in name else 3) * forward
    assert forward <= architecture.with_full_attention().forward_flops(batch)
    frozen = frozenset(f"{path}.weight" for path, _ in architecture.named_leaves())
    assert forward <= training_flops(architecture, batch, Trainable(frozen)) <= training


def test_the_largest_models_are_counted_in_under_a_millisecond_a_batch():
    llama = {**FAMILIES["llama"][2], "hidden_size": 16384, "num_hidden_layers": 126, "num_attention_heads": 128}
    architecture = architecture_of({"model_type": "llama", **llama, "num_key_value_heads": 8})
    # A bound a hundred times too wide, so that only a walk through all layers again and again would break it.
    began = time.perf_counter()
    training_flops(architecture, Batch(1, 8192))
    assert time.perf_counter() - began < 0.1
