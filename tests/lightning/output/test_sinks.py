"""Loggers that fail, are slow or want to know more, and a progress bar that gets its words back."""

from types import SimpleNamespace

import pytest
import torch

from flopwatch.lightning.output import sinks
from flopwatch.lightning.output.sinks import CallbackMetricsSink, LoggerSink, ProgressSink, RunFileSink, progress_words
from flopwatch.run.moment import Moment
from flopwatch.run.records import Totals
from tests import samples
from tests.lightning.models import MemoryLogger


class Broken(MemoryLogger):
    calls = 0

    def log_metrics(self, metrics, step=None):
        self.calls += 1
        raise ConnectionResetError("the service is gone")


class Unspeakable(Exception):
    def __str__(self):
        raise ValueError("it cannot say")


class Mute(MemoryLogger):
    def log_metrics(self, metrics, step=None):
        raise Unspeakable


class WandbLogger(MemoryLogger):
    """As Lightning's, by its name."""


@pytest.fixture
def sent(monkeypatch):
    """What W&B's loggers got by the functions that know W&B."""
    calls = []
    for name in ("set_axis", "write_summary", "attach", "alert"):
        monkeypatch.setattr(sinks.live, name, lambda logger, *rest, name=name: calls.append((name, *rest)))
    return calls


def test_every_logger_gets_a_row_of_its_own():
    class Spoils(MemoryLogger):
        def log_metrics(self, metrics, step=None):
            metrics.clear()

    good = MemoryLogger()
    LoggerSink([Spoils(), good]).log_metrics({"perf/mfu": 0.4}, 7)
    assert good.rows == [(7, {"perf/mfu": 0.4})]


def test_one_that_fails_three_times_in_a_row_is_left_alone_and_said_so(caplog):
    good, bad = MemoryLogger(), Broken()
    sink = LoggerSink([bad, good])
    for step in range(5):
        sink.log_metrics({"a": 1.0}, step)
    assert (bad.calls, len(good.rows)) == (3, 5)
    assert caplog.text.count("Broken failed (ConnectionResetError: the service is gone); training continues") == 1
    assert caplog.text.count("Broken failed 3 times in a row; flopwatch stops logging to it") == 1


def test_one_that_recovers_is_kept():
    class Now(Broken):
        def log_metrics(self, metrics, step=None):
            if step % 3:
                super().log_metrics(metrics, step)

    logger = Now()
    sink = LoggerSink([logger])
    for step in range(1, 12):
        sink.log_metrics({}, step)
    # Every third one works: of eleven, eight fail.
    assert logger.calls == 8


def test_a_message_to_others_is_no_success():
    bad = Broken()
    sink = LoggerSink([bad])
    for step in range(5):
        sink.log_metrics({}, step)
        sink.alert("of no concern", "to loggers that are not W&B's")
    assert bad.calls == 3


def test_an_error_that_cannot_say_what_it_is_is_survived(caplog):
    LoggerSink([Mute()]).log_metrics({}, 0)
    assert "Mute failed (Unspeakable: which cannot say why)" in caplog.text


def test_one_that_is_slow_is_told_once(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr(sinks.time, "monotonic", lambda: now[0])

    class Slow(MemoryLogger):
        def log_metrics(self, metrics, step=None):
            now[0] += 1.5

    sink = LoggerSink([Slow()])
    for step in range(3):
        sink.log_metrics({}, step)
    assert caplog.text.count("Slow took 1.5 s for a window while training waited; is its server slow?") == 1


def test_facts_go_into_the_hyperparameters_and_not_over_tensorboards_own():
    class TensorBoardLogger(MemoryLogger):
        def __init__(self):
            super().__init__()
            self.hparams = {"lr": 0.1}

    board, memory = TensorBoardLogger(), MemoryLogger()
    LoggerSink([board, memory]).log_facts({"device": "GPU"})
    assert board.hparams == {"lr": 0.1, "flopwatch": {"device": "GPU"}}
    assert board.facts == []
    assert memory.facts == [{"flopwatch": {"device": "GPU"}}]


def test_only_w_and_b_gets_what_only_it_can_take(sent):
    sink = LoggerSink([MemoryLogger(), WandbLogger()])
    sink.open(key for key in ("perf/mfu",))
    sink.log_summary({"mfu_mean": 0.4})
    sink.attach({}, None, None)
    sink.alert("low MFU", "it is 20%")
    assert sent == [
        ("set_axis", ("perf/mfu",)),
        ("write_summary", {"mfu_mean": 0.4}),
        ("attach", {}, None, None),
        ("alert", "low MFU", "it is 20%"),
    ]


def test_losses_are_charted_over_tokens_once_there_are_any(sent):
    sink = LoggerSink([WandbLogger()])
    sink.open(["mine/perf/mfu", "mine/loss/train", "mine/loss/validation", "mine/budget/tokens"])
    del sent[:]
    values = {"mine/loss/train": 2.0}
    sink.window(moment(first=True), {**values, "mine/budget/tokens": 1.0}, 0)
    sink.window(moment(), values, 1)
    assert sent == []
    for step in (2, 3):
        sink.window(moment(), {**values, "mine/budget/tokens": 10.0 * step}, step)
    assert sent == [("set_axis", ["mine/loss/train", "mine/loss/validation"], "mine/budget/tokens")]


class Bar:
    def get_metrics(self, trainer, module):
        return {"loss": 1.0, "left": "mine"}


def test_the_bar_shows_our_words_beside_the_users_which_go_before_ours():
    bar = Bar()
    sink = ProgressSink(bar)
    assert bar.get_metrics(None, None) == {"loss": 1.0, "left": "mine"}
    sink.show({"mfu": "40%", "left": "1h"})
    assert bar.get_metrics(None, module=None) == {"mfu": "40%", "loss": 1.0, "left": "mine"}
    sink.remove()
    assert bar.get_metrics(None, None) == {"loss": 1.0, "left": "mine"}
    assert bar.__dict__ == {}


def moment(**changes):
    return Moment(samples.window(10, 1010.0, **changes), samples.H100, Totals())


@pytest.mark.parametrize(
    ("flops", "left", "words"),
    [
        # 8e15 FLOPs in 10 s on two devices of 1e15.
        (8 * 10**15, 5400.0, {"mfu": "40%", "time_left": "1h30m"}),
        (None, None, {}),
        (0, None, {"mfu": "0%"}),
    ],
)
def test_the_bar_shows_what_is_known(flops, left, words):
    assert progress_words(moment(flops=flops, seconds_left=left)) == words


class Alone:
    """A Trainer of one process."""

    world_size = 1

    def __init__(self):
        self.callback_metrics = {"loss": torch.tensor(1.0)}


def test_callbacks_of_a_single_process_find_the_numbers_after_warm_up():
    one = Alone()
    sink = CallbackMetricsSink(one)
    sink.window(moment(first=True), {"perf/mfu": 0.1}, 0)
    assert set(one.callback_metrics) == {"loss"}
    sink.window(moment(), {"perf/mfu": 0.5}, 10)
    assert one.callback_metrics["perf/mfu"] == torch.tensor(0.5)


def test_of_several_processes_none_finds_what_the_others_do_not():
    one = Alone()
    one.world_size = 2
    CallbackMetricsSink(one).window(moment(), {"perf/mfu": 0.5}, 10)
    assert set(one.callback_metrics) == {"loss"}


def test_without_a_bar_the_others_get_their_window_all_the_same():
    records, logger = [], MemoryLogger()
    for sink in (ProgressSink(None), RunFileSink(SimpleNamespace(write=records.append)), LoggerSink([logger])):
        sink.window(moment(), {"perf/mfu": 0.4}, 10)
        sink.close()
    assert [each.step for each in records] == [10]
    assert [values["perf/mfu"] for _, values in logger.rows] == [0.4]
