"""What an image adds to a batch, by hand; whole batches are held against walks in test_closed_form.py."""

from dataclasses import replace

from flopwatch.lightning.counting.closed_form import ClosedForm
from flopwatch.lightning.counting.media_costs import total
from flopwatch.model.backward import EVERYTHING, StepFlops
from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of
from tests.model.families.composites import COMPOSITES


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
