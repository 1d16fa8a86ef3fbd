"""Which way of counting is taken, on a model whose batches are really run, or watched by nobody."""

import pytest
import torch

from flopwatch.errors import MeasurementError
from flopwatch.lightning.counting import watcher
from flopwatch.lightning.counting.counter import Cost, Pattern
from flopwatch.lightning.counting.picking import Counting, WithheldCounter
from flopwatch.run.counts import Counts
from tests.lightning.counting.test_contents import subject
from tests.lightning.models import CONFIG, FLOPS_PER_BATCH, TinyGPT

TOKENS = torch.zeros(2, 16, dtype=torch.long)
PAIR = (TOKENS, TOKENS)
COUNTED = Counts(FLOPS_PER_BATCH, 32, 2, FLOPS_PER_BATCH, None)


def counting(model, **options):
    values = {"config": None, "attention": "causal", "batch_shape": None, "strategy": "SingleDeviceStrategy"}
    return Counting(model, **{**values, **options})


def run(one, model, batch=PAIR, fed=PAIR):
    """A batch: planned, run, counted."""
    one.plan(batch)
    one.batch_begins()
    loss = model._loss(fed)
    one.backward_begins(loss)
    loss.backward()
    one.backward_ends()
    one.batch_ends()
    return one.count(batch)


class Unknown(TinyGPT):
    """The same model without a config to be found."""

    def __init__(self):
        super().__init__()
        self.config = None
        self.hparams.clear()


@pytest.fixture
def blind(monkeypatch):
    """Nothing can be watched."""
    monkeypatch.setattr(watcher, "CAN_WATCH_COMPILED", False)
    monkeypatch.setattr(watcher, "compiles_anything", lambda: True)


def test_the_closed_form_is_taken_where_the_first_batch_bears_it_out_and_said_once():
    model = TinyGPT()
    one = counting(model)
    assert one.parameters() == sum(each.numel() for each in model.parameters())
    assert one.news() is None
    assert run(one, model) == COUNTED
    assert one.news().verification == "verified"
    assert one.news() is None
    assert one.at_the_end() is None, "it turned out as it was said"


def test_without_a_config_what_ran_is_counted():
    model = Unknown()
    one = counting(model)
    assert run(one, model) == COUNTED
    work = one.news()
    assert (work.verification, work.method, work.training_flops) == ("watched", "measured", FLOPS_PER_BATCH)
    assert work.note.startswith("counted as it ran, because ")


def test_the_users_config_is_taken_for_a_model_without_one():
    model = Unknown()
    one = counting(model, config=CONFIG)
    run(one, model)
    assert one.news().verification == "verified"


def test_the_users_function_goes_before_everything_and_its_failure_leaves_it_aside(caplog):
    model = TinyGPT()
    one = counting(model, flops_per_batch=lambda batch: 7)
    assert run(one, model).flops == 7
    assert one.news().verification == "given"
    one = counting(model, flops_per_batch=lambda batch: "x")
    assert run(one, model) == COUNTED
    assert one.news().verification == "verified"
    assert "got 'x'; ignoring it" in caplog.text


def test_a_method_of_the_module_is_such_a_function():
    model = TinyGPT()
    model.flops_per_batch = lambda batch: 9
    assert run(counting(model), model).flops == 9


def test_a_later_batch_that_ran_otherwise_changes_the_way_of_counting(caplog):
    model = TinyGPT()
    one = counting(model)
    run(one, model)
    one.news()
    one.check_soon()
    half = tuple(each[:1] for each in PAIR)
    assert run(one, model, fed=half).flops == FLOPS_PER_BATCH // 2
    assert one.news().verification == "watched"
    assert caplog.text.count("FLOPs are counted from watched batches from here on: the step no longer matches") == 1


def test_what_nobody_can_watch_is_the_formula_where_it_is_sure_and_withheld_where_it_is_not(blind):
    model = TinyGPT()
    one = counting(model)
    assert run(one, model) == COUNTED
    assert one.news().verification == "formula only"
    one = counting(Unknown())
    assert run(one, model) == Counts(None, 32, 2, None, None)
    work = one.news()
    assert work.verification == "withheld"
    assert "cannot be watched where torch.compile is used" in work.note


def test_a_batch_that_was_skipped_is_no_work_and_that_is_said_once(caplog):
    model = TinyGPT()
    one = counting(model)
    for _ in range(2):
        one.plan(PAIR)
        one.batch_begins()
        one.batch_ends()
        one.skip()
    assert caplog.text.count("training_step returned None: skipped batches count as no work") == 1
    assert run(one, model) == COUNTED, "the first one that counts is looked at as the first"


def test_what_is_frozen_between_two_batches_is_seen_and_counted():
    model = TinyGPT()
    one = counting(model)
    run(one, model)
    model.blocks.requires_grad_(False)
    frozen = 2 * (66_048 + 49_152 + 2 * 8_704 + 2 * 8_192)
    assert run(one, model).flops == frozen
    model.blocks.requires_grad_(True)
    assert run(one, model) == COUNTED


def test_withheld_counts_all_but_flops_and_is_ready_to_count_again():
    one = WithheldCounter(subject(), PAIR, "no closed form", MeasurementError("nothing was seen"))
    assert one.work.note == "no closed form; and nothing was seen"
    assert one.count(PAIR, None, Pattern()) == Counts(None, 32, 2, None, None)
    assert one.knows(PAIR, Pattern()), "one more batch would tell nothing"
    assert one.objection(PAIR, None, Pattern()) == "no closed form"
    assert one.at_the_end() is one.work


def test_a_split_model_without_a_config_has_no_known_parameters():
    assert counting(Unknown(), strategy="FSDPStrategy").parameters() is None


@pytest.mark.parametrize("model", [TinyGPT, Unknown])
def test_what_a_batch_cost_is_told_with_its_forward_pass(model):
    model = model()
    one = counting(model)
    assert one.cost(PAIR) is None, "nothing was counted yet"
    run(one, model)
    # A backward is two products for each one of the forward.
    assert one.cost(PAIR) == Cost(FLOPS_PER_BATCH, FLOPS_PER_BATCH, FLOPS_PER_BATCH // 3)
    assert one.was_watched


def test_what_is_given_or_withheld_tells_no_forward_pass(blind):
    given, withheld = TinyGPT(), Unknown()
    one = counting(given, flops_per_batch=lambda batch: 1000)
    run(one, given)
    assert one.cost(PAIR) is None
    one = counting(withheld)
    run(one, withheld)
    assert one.cost(PAIR) is None
    assert not one.was_watched


def test_while_it_holds_no_batch_is_watched():
    model = Unknown()
    one = counting(model)
    run(one, model)
    one.hold(True)
    one.check_soon()
    run(one, model)
    assert not one.was_watched
    one.hold(False)
    run(one, model)
    assert one.was_watched
