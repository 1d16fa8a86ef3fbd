"""What becomes of a window, with an output that keeps what it is given."""

from types import SimpleNamespace

import pytest

from flopwatch.hardware.telemetry import Telemetry
from flopwatch.lightning.apart import Apart
from flopwatch.lightning.options import Options
from flopwatch.lightning.output import publisher as module
from flopwatch.lightning.output.fit_budgets import Bounds, Spending
from flopwatch.lightning.output.publisher import Publisher
from flopwatch.lightning.output.run_output import Output
from flopwatch.lightning.output.sinks import LoggerSink, ProgressSink, RunFileSink
from flopwatch.lightning.output.windows import Windows
from flopwatch.lightning.ranks.ranks import Ranks
from flopwatch.lightning.ranks.reading import Sum
from flopwatch.run.budget import Budget
from flopwatch.run.counts import Counts
from flopwatch.run.records import Event, Totals, Window
from tests import samples
from tests.lightning.fakes import boundary, lap, mark, trainer

STEPS, TOKENS = Budget(100, "steps"), Budget(1000, "tokens")
PETA = 10**15


class Kept(Output):
    """The real sinks over a file, loggers and a bar that keep what they get."""

    def __init__(self):
        self.records, self.rows, self.words, self.alerts = [], [], [], []
        self.file, self.loggers, bar = SimpleNamespace(write=self.records.append), LoggerSink([]), ProgressSink(None)
        self.loggers.log_metrics = lambda values, axis: self.rows.append((axis, values))
        self.loggers.alert = lambda title, text: self.alerts.append((title, text))
        bar.show = self.words.append
        self._sinks, self._apart = (RunFileSink(self.file), self.loggers, bar), Apart()

    def windows(self):
        return [each for each in self.records if isinstance(each, Window)]

    def events(self):
        return [each.message for each in self.records if isinstance(each, Event)]


class Fit:
    """Windows of ten steps in ten seconds, each of so many FLOPs, that are published one after another."""

    def __init__(self, *budgets, one=None, **options):
        self.output, self.windows = Kept(), Windows()
        self.trainer = one or trainer()
        self.ranks = Ranks(SimpleNamespace(), 0, 1)
        self.bounds = Bounds(self.trainer, budgets, Totals(), 0.0, Spending(2))
        self.publisher = Publisher(
            Options(budgets=budgets, **options), self.trainer, self.output, self.bounds, self.ranks, 900.0
        )
        self.step = self.flops = 0

    def goes_on(self, steps=10, flops=8 * PETA, telemetry=Telemetry(), first=False, **changes):  # noqa: B008
        self.step, self.flops = self.step + steps, self.flops + flops
        own = mark(self.flops, self.step, self.step)
        self.windows.close(boundary(self.step, own, Sum(own, 0, telemetry), lap(), first=first, **changes))
        totals = Totals(Counts(flops=self.flops, tokens=10 * self.step, steps=self.step, batches=self.step))
        for closed in self.windows.complete():
            self.publisher.publish(closed, totals, samples.H100, 1e18, self.step)
        return self.output


@pytest.fixture(autouse=True)
def now(monkeypatch):
    monkeypatch.setattr(module.clock, "now", lambda: 1000.0)


def test_warm_up_is_written_down_and_neither_logged_nor_shown():
    fit = Fit(STEPS)
    output = fit.goes_on(1, first=True)
    assert [each.first for each in output.windows()] == [True]
    assert output.rows == output.words == []


def test_a_window_is_written_logged_on_lightnings_axis_and_shown():
    fit = Fit(STEPS, prefix="mine")
    fit.goes_on(first=True)
    output = fit.goes_on()
    ((axis, row),) = output.rows
    # 8e15 FLOPs in 10 s on two devices of 1e15.
    assert (axis, row["mine/perf/mfu"]) == (19, pytest.approx(0.4))
    # Ten steps in ten seconds and two seconds around them, 80 steps are left.
    assert output.words == [{"mfu": "40%", "time_left": "1m36s"}]
    window = output.windows()[-1]
    assert (window.step, window.counts.flops, window.budget_fraction) == (20, 8 * PETA, 0.2)
    assert window.seconds_left == pytest.approx(96.0)
    assert row["mine/budget/fraction"] == 0.2


def test_every_budget_has_its_share_in_the_users_order():
    output = Fit(Budget(1.0, "joules"), TOKENS, STEPS).goes_on(30)
    # Energy is not known; 300 of 1,000 tokens, and 30 of 100 steps.
    assert [each.fraction for each in output.windows()[-1].budgets] == [None, 0.3, 0.3]


def test_a_budget_that_is_reached_is_told_once_everywhere_and_the_users_function_is_called(caplog):
    called = []
    fit = Fit(TOKENS, STEPS, on_budget=lambda one, budget: called.append((one, budget)))
    for _ in range(3):
        output = fit.goes_on(50)
    words = ["the budget of 1K tokens is used up at step 100", "the budget of 100 steps is used up at step 100"]
    assert sorted(output.events()) == sorted(words)
    assert sorted(output.alerts) == sorted(("flopwatch: budget used up", each) for each in words)
    assert sorted(called, key=str) == sorted([(fit.trainer, "1K tokens"), (fit.trainer, "100 steps")], key=str)
    assert all(caplog.text.count(each) == 1 for each in words)


def test_a_function_of_the_users_that_fails_is_said_and_survived(caplog):
    def fails(one, budget):
        raise ValueError("no")

    output = Fit(STEPS, on_budget=fails).goes_on(100)
    assert "on_budget failed: ValueError: no; training continues" in caplog.text
    assert len(output.windows()) == 1


def test_the_trainers_own_limits_reach_their_end_in_silence():
    output = Fit(one=trainer(max_steps=10)).goes_on(10)
    assert output.windows()[-1].budget_fraction == 1.0
    assert output.events() == []


def test_where_a_budget_ends_the_run_the_step_that_reaches_it_is_aimed_at():
    fit = Fit(STEPS, on_budget="stop")
    for _ in range(7):
        fit.goes_on()
    assert not fit.ranks.aims_to_stop, "thirty steps are more than two windows of ten"
    fit.goes_on(10)
    assert fit.ranks.aims_to_stop
    assert [fit.ranks.must_stop(step, 1.0) for step in (99, 100)] == [False, True]


def test_by_default_a_budget_ends_nothing():
    fit = Fit(STEPS)
    fit.goes_on(100)
    assert not fit.ranks.aims_to_stop


def test_whole_epochs_end_with_their_epoch_and_not_at_a_step():
    fit = Fit(Budget(2.0, "epochs"), on_budget="stop")
    fit.goes_on(20, epochs=2.0)
    assert not fit.ranks.aims_to_stop


def test_a_low_mfu_and_heat_are_told_everywhere():
    fit = Fit(alert_below_mfu=0.5, alert_after_seconds=20.0)
    hot = Telemetry(throttled={"hardware_thermal": 0.5})
    fit.goes_on(first=True)
    for _ in range(2):
        output = fit.goes_on(telemetry=hot)
    assert [title for title, _ in output.alerts] == ["flopwatch: low MFU", "flopwatch: throttled"]
    assert output.events()[0] == "MFU has been below 50% for 20s; it is 40% now"


def test_an_mfu_above_one_is_doubted_once(caplog):
    fit = Fit()
    fit.goes_on(first=True)
    for _ in range(2):
        output = fit.goes_on(flops=24 * PETA)
    # 24e15 of 20e15: logged as it is.
    assert output.rows[-1][1]["perf/mfu"] == pytest.approx(1.2)
    assert caplog.text.count("MFU is above 100%") == 1


def test_a_logger_that_fails_keeps_nothing_from_the_file_and_the_bar(caplog):
    fit = Fit(STEPS)
    fit.goes_on(first=True)
    fit.output.loggers.log_metrics = lambda values, axis: 1 / 0
    output = fit.goes_on()
    assert len(output.windows()) == 2
    assert output.words
    assert "logging a window failed, everything else continues" in caplog.text


def test_an_epoch_that_ended_without_another_step_is_logged_at_the_end():
    fit = Fit(Budget(2.0, "epochs"))
    fit.goes_on(first=True, epochs=1.0)
    output = fit.goes_on(epochs=1.9)
    fit.publisher.conclude(1.9)
    assert len(output.rows) == 1, "nothing is new"
    fit.publisher.conclude(2.0)
    assert output.rows[-1] == (19, {"budget/fraction": 1.0, "budget/hours_left": 0.0})
    assert output.events() == ["the budget of 2 epochs is used up at step 20"]


def test_without_a_window_there_is_nothing_to_conclude():
    fit = Fit(Budget(2.0, "epochs"))
    fit.publisher.conclude(2.0)
    assert fit.output.rows == []


def test_a_goal_that_time_will_not_suffice_for_is_told_once():
    fit = Fit(Budget(100.0, "seconds"), Budget(5000, "tokens"))
    for _ in range(12):
        output = fit.goes_on()
    # 3,800 tokens are left, 100 in 12 s; these are 456 s, of which 100 remain (here no time is booked as spent).
    (missed,) = (text for title, text in output.alerts if title == "flopwatch: budget will be missed")
    assert missed.startswith("the limit of 1m 40s will be used up")
    assert missed in output.events()
