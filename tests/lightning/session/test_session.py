"""A fit without a Trainer: a loop of a few lines calls what Lightning's hooks call, and the clock is the test's."""

from types import SimpleNamespace

import torch
from pytorch_lightning.profilers import PassThroughProfiler

from flopwatch.lightning.options import Options
from flopwatch.lightning.ranks.ranks import Ranks
from flopwatch.lightning.session.phase import Phase
from flopwatch.lightning.session.session import Session
from flopwatch.lightning.timing.stopwatch import Stopwatch
from flopwatch.run.budget import Budget
from flopwatch.run.run_file import read_run
from tests.lightning import fakes
from tests.lightning.models import FLOPS_PER_BATCH, TOKENS_PER_BATCH, MemoryLogger, TinyGPT

TOKENS = torch.zeros(2, 16, dtype=torch.long)
BATCH = (TOKENS, TOKENS)


class Fit:
    """A loop over batches that takes a second for each."""

    def __init__(self, folder, accumulate=1, step=0, **options):
        self.now, self.model, self.accumulate, self.batches = 0.0, TinyGPT(), accumulate, 0
        self.trainer = fakes.trainer(
            strategy=SimpleNamespace(root_device=torch.device("cpu")),
            precision_plugin=SimpleNamespace(precision="32-true"),
            profiler=PassThroughProfiler(),
            loggers=[MemoryLogger()],
            world_size=1,
            global_rank=0,
            global_step=step,
            accumulate_grad_batches=accumulate,
            default_root_dir=str(folder),
            should_stop=False,
        )
        self.trainer.fit_loop.epoch_loop._batches_that_stepped = step
        watch = Stopwatch(lambda: self.now)
        values = {"every_n_steps": 2, "peak_flops_per_second": 1e6, "dirpath": folder, **options}
        self.session = Session(Options(**values), self.trainer, self.model, Ranks(self.trainer.strategy, 0, 1), watch)

    def begin(self, state=None):
        self.session.begin(state or {})
        return self

    def batch(self, skipped=False):
        session, trainer = self.session, self.trainer
        session.batch_started(BATCH)
        with trainer.profiler.profile("run_training_batch"):
            self.now += 1.0
            if not skipped:
                loss = self.model._loss(BATCH)
                session.forward_ended(loss)
                loss.backward()
                session.backward_ended()
        self.batches += 1
        if self.batches % self.accumulate == 0:
            trainer.global_step += 1
            trainer.fit_loop.epoch_loop._batches_that_stepped += 1
        session.batch_ended(BATCH, None, skipped=skipped)

    def run(self, batches):
        for _ in range(batches):
            self.batch()
        return self


def segment(folder):
    (found,) = read_run(folder).segments
    return found


def test_a_fit_is_a_start_the_work_its_windows_and_an_end(tmp_path):
    fit = Fit(tmp_path).begin().run(5)
    fit.session.finish("finished")
    run = segment(tmp_path)
    assert run.work.verification == "verified"
    # Every two steps, after the first one, which is warm-up; the fifth step is left for the end.
    assert [(each.step, each.first, each.counts.flops, each.seconds) for each in run.windows] == [
        *((1, True, FLOPS_PER_BATCH, 1.0), (2, False, FLOPS_PER_BATCH, 1.0)),
        *((4, False, 2 * FLOPS_PER_BATCH, 2.0), (5, False, FLOPS_PER_BATCH, 1.0)),
    ]
    assert (run.end.status, run.end.step, run.end.totals.counts.flops) == ("finished", 5, 5 * FLOPS_PER_BATCH)
    assert (run.end.totals.counts.tokens, run.end.totals.counts.batches) == (5 * TOKENS_PER_BATCH, 5)
    assert run.end.seconds["training"] == 5.0
    assert [step for step, row in fit.trainer.loggers[0].ours()] == [2, 4, 5]


def test_a_batch_that_training_skipped_is_a_batch_and_no_work(tmp_path):
    fit = Fit(tmp_path).begin().run(1)
    fit.batch(skipped=True)
    fit.session.finish("finished")
    assert (segment(tmp_path).end.totals.counts.flops, segment(tmp_path).end.totals.counts.batches) == (
        FLOPS_PER_BATCH,
        2,
    )


def test_nothing_of_ours_is_left_on_the_users_things(tmp_path):
    fit = Fit(tmp_path).begin().run(2)
    assert "profile" in fit.trainer.profiler.__dict__
    fit.session.finish("finished")
    assert not {"start", "stop", "profile"} & set(fit.trainer.profiler.__dict__)
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in fit.model.modules())
    assert fit.session.phase is Phase.ENDED


def test_a_session_that_never_began_leaves_nothing(tmp_path):
    fit = Fit(tmp_path)
    assert not fit.session.has_totals
    fit.session.finish("interrupted")
    assert list(tmp_path.iterdir()) == []
    assert not fit.session.has_totals


def test_it_is_finished_once(tmp_path):
    fit = Fit(tmp_path).begin().run(1)
    fit.session.finish("failed")
    fit.session.finish("finished")
    assert segment(tmp_path).end.status == "failed"
    assert fit.session.has_totals, "a checkpoint that is saved afterwards holds them"
    assert fit.session.state_dict()["totals"]["flops"] == FLOPS_PER_BATCH


def test_a_checkpoint_holds_the_totals_of_its_step_and_a_resumed_run_goes_on_from_them(tmp_path):
    first = Fit(tmp_path / "a").begin().run(3)
    state = first.session.state_dict()
    assert (state["totals"]["flops"], state["totals"]["steps"]) == (3 * FLOPS_PER_BATCH, 3)
    assert not state["totals_in_run_file"], "one rank knows all at once"
    first.run(2).session.finish("failed")
    second = Fit(tmp_path / "b", step=3).begin(state).run(2)
    second.session.finish("finished")
    start, end = read_run(tmp_path / "b").segments[-1].start, read_run(tmp_path / "b").segments[-1].end
    assert (start.resumed_from, start.step) == (state["run_file"], 3)
    assert (end.totals.counts.flops, end.totals.counts.steps) == (5 * FLOPS_PER_BATCH, 5)
    # The first process's fourth and fifth step were done in vain.
    assert (end.totals.lost_steps, end.totals.lost_flops) == (2, 2 * FLOPS_PER_BATCH)


def test_a_checkpoint_in_the_middle_of_a_step_keeps_none_of_its_batches(tmp_path):
    fit = Fit(tmp_path, accumulate=2).begin().run(3)
    assert fit.session.state_dict()["totals"]["batches"] == 2
    fit.session.finish("finished")
    assert (segment(tmp_path).end.totals.counts.batches, segment(tmp_path).end.totals.counts.steps) == (3, 1)


def test_an_optimizers_own_products_are_hardware_work_of_each_step(tmp_path):
    fit = Fit(tmp_path, accumulate=2, optimizer_flops=1000).begin().run(4)
    fit.session.finish("finished")
    totals = segment(tmp_path).end.totals
    assert (totals.counts.flops, totals.counts.hardware_flops) == (4 * FLOPS_PER_BATCH, 4 * FLOPS_PER_BATCH + 2000)


def test_a_budget_of_steps_ends_training_at_its_step(tmp_path):
    fit = Fit(tmp_path, budgets=(Budget(3, "steps"),), on_budget="stop").begin().run(2)
    assert (fit.trainer.should_stop, fit.session.phase) == (False, Phase.TRAINING)
    fit.run(1)
    assert (fit.trainer.should_stop, fit.session.phase) == (True, Phase.STOPPING)
    fit.session.finish("finished")


def test_a_budget_of_time_ends_training_at_the_step_that_is_past_it(tmp_path):
    fit = Fit(tmp_path, budgets=(Budget(2.5, "seconds"),), on_budget="stop", every_n_steps=100).begin().run(2)
    assert not fit.trainer.should_stop
    fit.run(1)
    assert fit.trainer.should_stop
    fit.session.finish("finished")


def test_a_budget_of_whole_epochs_ends_training_with_its_epoch(tmp_path):
    fit = Fit(tmp_path, budgets=(Budget(1.0, "epochs"),), on_budget="stop").begin()
    fit.session.epoch_started()
    fit.run(2)
    fit.session.epoch_ended()
    assert not fit.trainer.should_stop, "an epoch has ten batches"
    fit.trainer.fit_loop.epoch_progress.current.processed = 1
    fit.trainer.fit_loop.epoch_loop.batch_progress.is_last_batch = True
    fit.session.epoch_ended()
    assert fit.trainer.should_stop
    fit.session.finish("finished")


def test_after_an_error_of_ours_what_was_counted_stays_and_everything_is_given_back(tmp_path):
    fit = Fit(tmp_path).begin().run(3)
    fit.session.abandon()
    run = segment(tmp_path)
    assert (run.end.status, run.end.step, run.end.totals.counts.flops) == ("measuring stopped", 3, 3 * FLOPS_PER_BATCH)
    assert not {"start", "stop", "profile"} & set(fit.trainer.profiler.__dict__)
    assert not fit.session.has_totals


def test_time_in_validation_and_checkpoints_is_theirs(tmp_path):
    fit = Fit(tmp_path).begin().run(2)
    fit.session.enter("validation")
    fit.now += 30.0
    fit.session.leave("validation")
    fit.run(2).session.finish("finished")
    run = segment(tmp_path)
    assert (run.end.seconds["validation"], run.end.seconds["training"]) == (30.0, 4.0)
    assert (run.windows[-1].seconds, run.windows[-1].wall_seconds) == (2.0, 32.0)
    assert run.windows[-1].pause_seconds == {"validation": 30.0}


def test_a_last_window_that_fails_costs_that_window_alone(tmp_path, monkeypatch, caplog):
    fit = Fit(tmp_path).begin().run(2)
    monkeypatch.setattr(fit.session, "_conclude", lambda after_an_error: 1 / 0)
    fit.session.finish("finished")
    assert (segment(tmp_path).end.status, segment(tmp_path).end.totals.counts.steps) == ("finished", 2)
    assert "the last window failed, everything else continues" in caplog.text
