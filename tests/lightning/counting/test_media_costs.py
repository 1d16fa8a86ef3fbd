"""Batches of many sizes cost what their parts cost, each part counted once."""

from dataclasses import replace

import pytest

from flopwatch.lightning.counting.closed_form import ClosedForm
from flopwatch.lightning.counting.media_costs import MediaCosts, total
from flopwatch.model.backward import EVERYTHING, StepFlops, Trainable, TrainingStep
from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of
from tests.model.families.composites import COMPOSITES

SHAPES = [
    Batch(2, 64, grids=((1, 4, 8), (2, 4, 4))),
    Batch(2, 64, sounds=(330, 120, 7), source_len=330, images=0),
    Batch(3, 40, sounds=(60, 20), source_len=60, grids=((1, 6, 10),)),
    Batch(3, 40, sounds=(20,), source_len=20, grids=((1, 6, 10), (1, 4, 8))),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["qwen2_5_omni_thinker", "qwen3_omni_moe_thinker"])
def test_a_batch_of_many_sizes_is_the_sum_of_what_each_costs_alone(name, shape):
    architecture = architecture_of({"model_type": name, **COMPOSITES[name][1]})
    kept, trainable = {}, Trainable()
    costs = MediaCosts(architecture, trainable, "none", lambda key, count: kept.setdefault(key, count()))
    for each in SHAPES:  # with everything kept that others leave
        costs.flops(each)
    assert costs.flops(shape) == TrainingStep(architecture, trainable).flops(shape)


def test_a_sound_of_the_same_length_is_counted_once():
    architecture = architecture_of({"model_type": "qwen2_5_omni_thinker", **COMPOSITES["qwen2_5_omni_thinker"][1]})
    counted = set()

    def once(key, count):
        counted.add(key)
        return count()

    MediaCosts(architecture, Trainable(), "none", once).flops(Batch(2, 64, sounds=(60, 60, 41), images=0))
    assert len(counted) == 3  # the text, and two lengths


def test_an_image_whose_tokens_see_each_other_forwards_adds_those_pairs_to_the_text():
    model_type, fields, _ = COMPOSITES["gemma4"]
    architecture = architecture_of({"model_type": model_type, **fields})
    form = ClosedForm(architecture, "causal", EVERYTHING, "none")
    one = Batch(2, 60, patches=40, grids=((1, 4, 4),), clips=0)
    two = replace(one, grids=((1, 4, 4), (1, 4, 8)))
    encoder = architecture.encoders().forward_flops(Batch(1, 1, patches=40, grids=((1, 4, 8),), clips=0))
    # 8 tokens, 8 x 7 / 2 = 28 pairs of 2 x 4 heads x (24 + 24) FLOPs in each of five layers with a window.
    assert form.forward_cost(two).flops - form.forward_cost(one).flops == encoder + 5 * 28 * 384
    full = ClosedForm(architecture, "full", EVERYTHING, "none")
    assert full.forward_cost(two).flops - full.forward_cost(one).flops == encoder


def test_costs_add_up():
    assert total([StepFlops(1, 2, 3, 4), StepFlops(10, 20, 30, 40)]) == StepFlops(11, 22, 33, 44)
    assert total([StepFlops(1, 2, 3, 4)]) == StepFlops(1, 2, 3, 4)
