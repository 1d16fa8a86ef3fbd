"""Trees of parts: how often each runs and exists, and the lines of the table, on a model of a dozen numbers."""

import pytest

from flopwatch.model.architecture import Architecture, ComponentRow, Group, Stack, join, leaves, taken_in
from flopwatch.model.batch import Batch, PerImage
from flopwatch.model.components import AttentionCore, Embedding, Experts, Linear, Norm

UP, DOWN = Linear("up", 4, 6), Linear("down", 6, 4)
CORE = AttentionCore("core", 2, 8, 8)
MIX = Group("", (Norm("norm", 4), Group("attn", (Linear("q", 4, 16), CORE))))
MLP = Group("", (Norm("norm", 4), Group("mlp", (UP, DOWN))))
# Layers 0 and 3 mix, 1 and 2 do not.
STACK = Stack("layers", (MIX, MLP), (0, 1, 1, 0))
MODEL = Architecture("toy", (Group("model", (Embedding("words", 10, 4), STACK)), Linear("head", 4, 10)))


def test_parts_of_a_stack_run_and_exist_at_every_position_of_their_kind():
    counts = {leaf.name: (runs, exist) for leaf, runs, exist in leaves(STACK)}
    assert counts["core"] == counts["up"] == (2, 2)
    shared = Stack("layers", (MIX, MLP), (0, 1, 1, 0, 1), shared=True)
    counts = {leaf.name: (runs, exist) for leaf, runs, exist in leaves(shared)}
    assert (counts["core"], counts["up"]) == ((2, 1), (3, 1))


def test_parameters_and_flops_are_those_of_all_parts():
    # 40 of the table; 2 layers of 4 + 64; 2 of 4 + 24 + 24; the head's 40: 40 + 136 + 104 + 40.
    assert MODEL.parameters() == MODEL.active_parameters() == 320
    # 3 tokens: 2 x 3 x (2 x 64 + 2 x 48 + 40) = 1,584; the core, twice: 6 pairs x 2 heads x 2 x 16 = 384.
    assert MODEL.forward_flops(Batch(1, 3)) == 1584 + 2 * 384


def test_a_token_meets_only_the_experts_that_it_is_sent_to():
    model = Architecture("moe", (Stack("layers", (Group("", (Experts("w", 4, 6, experts=8, active=2),)),), (0, 0)),))
    # Two layers of 8 matrices of 24, of which 2 are met.
    assert (model.parameters(), model.active_parameters()) == (384, 96)


def test_the_table_has_a_line_a_part_and_adds_up():
    rows = MODEL.rows(Batch(1, 3))
    assert rows == [
        # A named group is one line, the stack in it has its own.
        ComponentRow("model", 40, 0, 40),
        # The norms of both kinds of layers, four of 4.
        ComponentRow("model.layers.norms", 16, 0, 16),
        ComponentRow("model.layers.attn", 128, 768, 128),
        ComponentRow("model.layers.attn.core", 0, 768, 0),
        ComponentRow("model.layers.mlp", 96, 576, 96),
        ComponentRow("head", 40, 240, 40),
    ]


def test_a_named_kind_of_layer_has_lines_of_its_own():
    kinds = (Group("dense", (UP,)), Group("sparse", (UP,)))
    model = Architecture("toy", (Stack("layers", kinds, (0, 1, 1)),))
    assert [(row.name, row.parameters) for row in model.rows(Batch(1, 1))] == [
        ("layers[dense].up", 24),
        ("layers[sparse].up", 48),
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [(0, 0), (1, 1), (2, 1), (3, 0)]),
        ({"shared": True}, [(0, 0), (0, 1), (0, 1), (0, 0)]),
    ],
)
def test_positions_in_the_module_tree(changes, expected):
    assert list(Stack("layers", (MIX, MLP), (0, 1, 1, 0), **changes).positions()) == expected


def test_a_layer_takes_in_what_it_reads_before_it_writes_it():
    # The core reads q, which the layer made, and k and v, which it did not.
    layer = Group("", (Linear("q", 4, 16, writes="q"), CORE, Linear("o", 16, 4, reads=("o",))))
    assert taken_in(layer) == {"x", "k", "v"}


def test_every_layer_has_its_own_paths():
    assert [path for path, _ in MODEL.named_leaves()][:5] == [
        "model.words",
        "model.layers.0.norm",
        "model.layers.0.attn.q",
        "model.layers.0.attn.core",
        "model.layers.1.norm",
    ]


def test_full_attention_takes_off_every_kind_of_mask_and_causal_leaves_it():
    masked = AttentionCore("core", 1, 1, 1, window=2, chunk=3, radius=1, forwards=PerImage(2))
    (leaf, _, _), *_ = Architecture("toy", (masked,)).counted_with("full").leaves()
    # Of five tokens all 25 pairs.
    assert leaf.pairs(Batch(1, 5)) == 25
    assert MODEL.counted_with("causal") is MODEL


def test_the_reference_is_what_hugging_faces_code_runs_in_a_parts_place():
    model = Architecture("toy", (Linear("a", 4, 4, reference=Linear("a", 4, 40)), UP))
    assert [leaf.out_features for leaf, _, _ in model.as_reference().leaves()] == [40, 6]
    assert model.forward_flops(Batch(1, 1)) == 2 * (16 + 24)


def test_frames_of_sound_are_no_tokens_but_a_source_of_text_is():
    batch = Batch(2, 5, source_len=100)
    assert Architecture("speech", (), inputs="frames and tokens").tokens(batch) == 10
    assert Architecture("text", (), inputs="source and tokens").tokens(batch) == 210


def test_an_empty_name_adds_no_level():
    assert [join("a", "b"), join("", "b"), join("a", "")] == ["a.b", "b", "a"]
