"""Budgets in real fits: projected, reached, and ending the run."""

import json
import logging
from pathlib import Path

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from flopwatch import FlopWatch
from flopwatch.errors import ArgumentError
from flopwatch.lightning import callback
from flopwatch.lightning.timing.stopwatch import Stopwatch
from flopwatch.run.run_file import read_run
from tests import running
from tests.lightning.models import FLOPS_PER_BATCH, MemoryLogger, TinyGPT, loader, trainer

TOKENS_PER_BATCH = 32


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(callback, "Stopwatch", lambda: Stopwatch(clock))
    return clock


@pytest.fixture
def fit(tmp_path, clock):
    """A fit whose batches take a second each."""

    def run(budget, *others, batches=1000, logger=False, **arguments):
        def second(index):
            clock.now += 1.0

        watch = FlopWatch(budget, **{"every_n_steps": 5, "dirpath": tmp_path, **arguments})
        one = trainer(tmp_path, watch, *others, max_steps=40, logger=logger, enable_checkpointing=bool(others))
        one.fit(TinyGPT(second), loader(batches))
        (segment,) = read_run(tmp_path).segments
        return one, segment

    return run


@pytest.mark.parametrize(
    ("budget", "arguments", "steps"),
    [
        ("12 steps", {}, 12),
        # 32 tokens a batch: 13 batches are 416, one less is too few.
        ("400 tokens", {}, 13),
        (f"{7 * FLOPS_PER_BATCH} FLOPs", {}, 7),
        ("0.5 epochs", {"batches": 20}, 10),
        # A step takes a second: time is up when it is seen to be.
        ("17 s", {}, 17),
        ("17 s", {"every_n_steps": 1000}, 17),
        ("0.005 device-hours", {}, 18),
        ("$0.01", {"usd_per_device_hour": 2.0}, 18),
        ("1 step", {}, 1),
    ],
)
def test_a_run_ends_with_the_step_that_reaches_its_budget(fit, budget, arguments, steps):
    one, segment = fit(budget, on_budget="stop", **arguments)
    assert (one.global_step, segment.end.totals.counts.steps, segment.end.status) == (steps, steps, "finished")


def test_of_several_budgets_the_first_to_be_reached_is_headlined_and_ends_the_run(fit):
    logger = MemoryLogger()
    one, segment = fit(["400 tokens", "30 steps", "1 days"], on_budget="stop", logger=logger)
    assert one.global_step == 13
    # After 10 steps, 320 of 400 tokens.
    _, row = logger.ours()[1]
    assert row["budget/fraction"] == pytest.approx(320 / 400)
    assert [each.text for each in segment.start.budgets] == ["400 tokens", "30 steps", "1d 0h"]
    # A step takes a second: 2.5 s for the 80 tokens left, 20 s for the steps, and the day less 10 s, which is certain.
    tokens, steps, day = segment.windows[2].budgets
    assert [each.fraction for each in (tokens, steps, day)] == pytest.approx([0.8, 1 / 3, 10 / 86400])
    assert [each.seconds_left for each in (tokens, steps, day)] == pytest.approx([2.5, 20, 86390])
    assert [each.seconds_left_low for each in (tokens, steps)] == [None, None]
    assert day.seconds_left_low == day.seconds_left == day.seconds_left_high


def test_the_headline_does_not_jump_between_budgets_that_are_as_near(tmp_path, clock):
    logger, seconds = MemoryLogger(), [3.0, 1.0]

    def at_batch(index):
        clock.now += seconds[index // 5 % 2]

    watch = FlopWatch(["200 steps", "400 s"], every_n_steps=5, dirpath=tmp_path)
    trainer(tmp_path, watch, max_steps=150, logger=logger).fit(TinyGPT(at_batch), loader())
    rows = [row["budget/fraction"] for _, row in logger.ours()]
    # Five steps of 3 s, five of 1 s, and so on: 2 s a step, so 400 s and 200 steps come together, and now one is ahead,
    # now the other. After the first five steps it is the time, and so it stays.
    assert rows == pytest.approx([(15 * ((window + 1) // 2) + 5 * (window // 2)) / 400 for window in range(1, 31)])


def test_a_budget_that_ends_a_run_leaves_a_checkpoint(fit, tmp_path, caplog):
    keeper = ModelCheckpoint(dirpath=tmp_path / "kept", every_n_train_steps=10)
    fit("12 steps", keeper, on_budget="stop")
    saved = torch.load(tmp_path / "kept" / "budget-step=12.ckpt", weights_only=False)
    assert saved["global_step"] == 12
    assert saved["callbacks"]["FlopWatch"]["totals"]["tokens"] == 12 * TOKENS_PER_BATCH


def test_a_checkpoint_that_was_just_saved_is_enough(fit, tmp_path):
    fit("20 steps", ModelCheckpoint(dirpath=tmp_path / "kept", every_n_train_steps=10), on_budget="stop")
    assert not list((tmp_path / "kept").glob("budget*"))


def test_by_default_a_reached_budget_is_said_once_and_training_goes_on(fit, caplog):
    caplog.set_level(logging.WARNING, "flopwatch")
    one, segment = fit(["10 steps", "20 s"])
    assert one.global_step == 40
    assert [event.message for event in segment.events] == [
        "the budget of 10 steps is used up at step 10",
        "the budget of 20s is used up at step 20",
    ]
    assert caplog.text.count("is used up") == 2


def test_the_trainers_own_limits_are_projected_and_nobody_is_warned(fit, caplog):
    logger = MemoryLogger()
    _, segment = fit(None, logger=logger)
    assert segment.events == ()
    # After 35 of 40 steps of a second.
    _, row = logger.ours()[-2]
    assert row["budget/hours_left"] * 3600 == pytest.approx(5)


def test_a_function_is_called_once_and_its_error_is_its_own(fit, caplog):
    calls = []

    def react(trainer, budget):
        calls.append((trainer.global_step, budget))
        raise ValueError("not today")

    one, _ = fit("10 steps", on_budget=react)
    assert calls == [(10, "10 steps")]
    assert one.global_step == 40
    assert caplog.text.count("on_budget failed: ValueError: not today") == 1


def test_chinchilla_is_twenty_tokens_of_each_parameter(fit):
    _, segment = fit("chinchilla")
    (budget,) = segment.start.budgets
    assert (budget.unit, budget.amount) == ("tokens", 20 * segment.work.parameters)


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self):
        while True:
            yield loader(1).dataset[0]


def test_a_budget_that_cannot_be_measured_yet_is_told_with_the_reason(tmp_path, caplog):
    watch = FlopWatch(["3 epochs", "12 steps"], dirpath=tmp_path)
    trainer(tmp_path, watch, max_steps=3).fit(TinyGPT(), torch.utils.data.DataLoader(Endless(), batch_size=2))
    (segment,) = read_run(tmp_path).segments
    assert [each.text for each in segment.start.budgets] == ["3 epochs", "12 steps"]
    assert segment.windows[-1].budget_fraction == 3 / 12
    assert caplog.text.count("the data loader does not report its length") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"budget": "$20k"}, "pass usd_per_device_hour="),
        ({"on_budget": "stop"}, "on_budget='stop' needs a budget: pass budget="),
        ({"on_budget": "halt"}, "expected 'warn', 'stop' or a function for on_budget, got 'halt'"),
        ({"alert_below_mfu": 35}, "expected an MFU from 0 to 1"),
        ({"alert_after_seconds": None}, "expected a number of seconds above zero for alert_after_seconds, got None"),
        ({"alert_below_mfu": 0.3, "alert_after_seconds": 0}, "expected a number of seconds above zero"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_at_once(arguments, said):
    with pytest.raises(ArgumentError, match=said):
        FlopWatch(**arguments)


@pytest.mark.parametrize(("budget", "told"), [(["30 s", "60 steps"], True), ("30 s", True), ("50 s", False)])
def test_in_a_fit_the_trainers_steps_are_a_goal_too(fit, budget, told, caplog):
    # A step takes a second, and the Trainer's limit is 40 of them.
    _, segment = fit(budget, every_n_steps=1)
    words = [event.message for event in segment.events if "before" in event.message]
    goal, reached = ("60 steps", "50%") if len(budget) == 2 else ("40 steps", "75%")
    assert len(words) == told
    if told:
        assert words[0].startswith("the limit of 30s will be used up ")
        assert words[0].endswith(f" before {goal} are done, at {reached} of them")


def test_a_low_mfu_in_a_fit_is_in_its_log_and_in_its_file(fit, caplog):
    peak = FLOPS_PER_BATCH * 10  # an MFU of 10%
    _, segment = fit("1 days", peak_flops_per_second=peak, alert_below_mfu=0.3, alert_after_seconds=20)
    (event,) = segment.events
    # Warm-up is one step; the windows after it are of 4, 5, 5, 5 and 5 s.
    assert event.message == "MFU has been below 30% for 24s; it is 10% now"
    assert caplog.text.count(event.message) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("budget", "least", "most", "batches"),
    # 64 tokens a step of both ranks: 50 steps are 3,200; telling both takes 0.6 s, some 15 steps of 40 ms. Time is
    # looked at by the first rank alone.
    # 20 batches are 10 for each rank, and the end of the third epoch is known to both.
    [("3200 tokens", 50, 80, 2000), ("4 s", 10, 200, 2000), ("3 epochs", 30, 30, 20)],
)
def test_all_ranks_end_with_the_same_step(tmp_path, budget, least, most, batches):
    script = Path(__file__).parent / "scripts" / "ranks_with_a_budget.py"
    result = running.run(script, tmp_path, budget, batches, timeout=120)
    assert result.returncode == 0, result.stderr
    lines = (result.stdout + result.stderr).splitlines()
    stops = sorted(json.loads(line) for line in lines if line.startswith('["stopped"'))
    assert [rank for _, rank, _ in stops] == [0, 1]
    first, second = (step for _, _, step in stops)
    assert first == second
    assert least <= first <= most
    (segment,) = read_run(tmp_path).segments
    assert segment.end.totals.counts.tokens == first * 2 * TOKENS_PER_BATCH
