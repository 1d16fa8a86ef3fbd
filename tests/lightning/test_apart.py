"""What goes wrong in a part of flopwatch costs what that part gives: no other total, no stop at a budget, no report."""

import pytest

from flopwatch import FlopWatch
from flopwatch.hardware.nvml.lookup import Address
from flopwatch.hardware.sampler import Sampler
from flopwatch.lightning.apart import Apart
from flopwatch.lightning.counting.picking import Counting
from flopwatch.lightning.output.fit_budgets import Bounds
from flopwatch.lightning.output.publisher import Publisher
from flopwatch.lightning.output.sinks import CallbackMetricsSink, LoggerSink, ProgressSink
from flopwatch.lightning.session import session as session_module
from flopwatch.lightning.session.session import Session
from flopwatch.run.projection import Pace
from flopwatch.run.run_file import read_run
from tests.lightning.models import (
    FLOPS_PER_BATCH,
    SEQUENCES,
    TOKENS_PER_BATCH,
    MemoryLogger,
    TinyGPT,
    loader,
    trainer,
)


def break_(*arguments, **named):
    raise RuntimeError("broken on purpose")


def test_the_first_error_of_a_part_is_said_and_what_it_gives_is_absent(caplog):
    apart = Apart()
    assert [apart.run("one", break_), apart.run("one", break_), apart.run("two", break_)] == [None] * 3
    assert apart.run("three", lambda number: number + 1, 2) == 3
    said = "failed, everything else continues: RuntimeError: broken on purpose"
    assert [caplog.text.count(f"{part} {said}") for part in ("one", "two", "three")] == [1, 1, 0]


def only_once(method):
    """Fails at its third call alone."""
    calls = []

    def instead(*arguments, **named):
        calls.append(1)
        if len(calls) == 3:
            break_()
        return method(*arguments, **named)

    return instead


PARTS = [
    (Counting, "plan", True),
    (Counting, "batch_begins", True),
    (Counting, "batch_ends", True),
    (Counting, "check_soon", True),
    (Counting, "count", False),
    (Counting, "at_the_end", True),
    (Session, "_describe_work", True),
    (Session, "_settle_device", True),
    (Sampler, "start", True),
    (Sampler, "take", True),
    (Sampler, "take_joules", True),
    (Sampler, "is_silent", True),
    (Sampler, "hardware", True),
    (Sampler, "troubles", True),
    (Sampler, "stop", True),
    (Pace, "add", True),
    (Pace, "left", True),
    (Bounds, "project", True),
    (CallbackMetricsSink, "window", True),
    (Publisher, "_judge", True),
    (Publisher, "conclude", True),
    (ProgressSink, "show", True),
    (LoggerSink, "log_metrics", True),
    (LoggerSink, "log_facts", True),
]


@pytest.mark.parametrize("when", ["always", "once"])
@pytest.mark.parametrize(("owner", "method", "knows"), PARTS, ids=lambda each: getattr(each, "__name__", str(each)))
def test_a_part_that_fails_takes_nothing_else_with_it(tmp_path, monkeypatch, caplog, owner, method, knows, when):
    if owner is Sampler:
        monkeypatch.setattr(session_module, "address_of", lambda root: Address("a GPU that no driver knows"))
    broken = break_ if when == "always" else only_once(getattr(owner, method))
    monkeypatch.setattr(owner, method, broken)
    model, logger = TinyGPT(), MemoryLogger()
    watch = FlopWatch(["320 tokens", "50 steps"], on_budget="stop", every_n_steps=2, dirpath=tmp_path)
    one = trainer(tmp_path, watch, max_steps=30, logger=logger)
    one.fit(model, loader())
    (segment,) = read_run(tmp_path).segments
    totals = segment.end.totals
    # 32 tokens a batch: the budget ends training with the tenth step. Nothing is hidden of a batch that failed.
    wanted = 10 if (owner, method) != (Bounds, "project") or when == "once" else 30
    assert (one.global_step, totals.counts.steps, totals.counts.batches) == (wanted, wanted, wanted)
    assert segment.end.status == "finished"
    assert (totals.counts.tokens, totals.counts.samples) == (wanted * TOKENS_PER_BATCH, wanted * SEQUENCES)
    assert totals.counts.flops == (wanted * FLOPS_PER_BATCH if knows else None)
    assert sum(segment.end.seconds.values()) == pytest.approx(totals.seconds, abs=0.1)
    assert (tmp_path / "report.html").exists()
    assert "stopped measuring" not in caplog.text
    assert caplog.text.count("broken on purpose") <= 2
    assert "profile" not in vars(one.profiler)


class Shy(list):
    """What cannot be looked through."""

    def __iter__(self):
        raise RuntimeError("look away")


class OddBatch:
    """A batch of a user's own class, which nobody but its model should open."""

    def __init__(self, ids, targets, odd):
        self.input_ids, self.targets = ids, targets
        self.words = Shy("ab") if odd else ["a", "b"]


class OddLoader:
    """Batches of which one is odd."""

    def __init__(self, odd):
        self.odd = odd

    def __len__(self):
        return 10

    def __iter__(self):
        for place, (ids, targets) in enumerate(loader(10)):
            yield OddBatch(ids, targets, place in self.odd)


@pytest.mark.parametrize("odd", [(4,), range(10)])
def test_a_batch_that_cannot_be_read_costs_its_flops_alone(tmp_path, caplog, odd):
    class Plain(TinyGPT):
        def __init__(self):
            super().__init__()
            self.config = None  # so that batches are watched
            self.hparams.clear()

        def training_step(self, batch, batch_idx):
            return self._loss((batch.input_ids, batch.targets))

    watch = FlopWatch("8 steps", on_budget="stop", every_n_steps=1, dirpath=tmp_path)
    one = trainer(tmp_path, watch, max_steps=30)
    one.fit(Plain(), OddLoader(odd))
    (segment,) = read_run(tmp_path).segments
    assert one.global_step == 8
    # The fifth batch alone is unknown, and with it the total; the windows beside it are known.
    known = [each.counts.flops for each in segment.windows]
    assert known == [None if place in odd else FLOPS_PER_BATCH for place in range(8)]
    assert (segment.end.totals.counts.flops, segment.end.totals.counts.tokens) == (None, 8 * TOKENS_PER_BATCH)
    assert caplog.text.count("counting the FLOPs of a batch failed") == 1
    assert (tmp_path / "report.html").exists()
