"""What a W&B run gets, by a logger and a run that keep what they are told."""

from types import SimpleNamespace

import pytest

from flopwatch.wandb import live
from flopwatch.wandb.live import Table, own_part

ROW = {"trainer/global_step": 10, "perf/mfu": 0.4, "perf/step_seconds": 1.0, "budget/device_hours": 0.1}


OTHERS = [{"myperf/step_seconds": 1.0, "mybudget/device_hours": 1.0}, {"perf/step_seconds": 1.0}, {"loss": 1.0}, {}]


@pytest.mark.parametrize("row", OTHERS)
def test_rows_of_others_are_left_out(row):
    assert own_part(row) is None


@pytest.mark.parametrize("prefix", ["", "exp1-", "mine/", "exp1-mine/"])
def test_our_rows_are_known_by_two_keys_under_one_prefix(prefix):
    row = {f"{prefix}{key}" if key != "trainer/global_step" else key: value for key, value in ROW.items()}
    assert own_part(row) == ROW


def test_a_row_from_tensorboard_has_its_own_axis():
    row = {key: value for key, value in ROW.items() if key != "trainer/global_step"}
    assert own_part({**row, "global_step": 7})["trainer/global_step"] == 7


class Experiment:
    """A W&B run."""

    def __init__(self, folder=None):
        self.dir, self.summary = str(folder), {}
        self.defined, self.alerts, self.logged, self.saved = [], [], [], []

    def define_metric(self, name, **options):
        self.defined.append((name, options))

    def alert(self, **words):
        self.alerts.append(words)

    def log(self, values):
        self.logged.append(values)

    def save(self, path, **options):
        self.saved.append((path, options))


class WandbLogger:
    """As Lightning's, by its name."""

    LOGGER_JOIN_CHAR = "-"

    def __init__(self, folder=None, prefix="", **init):
        self.experiment, self._prefix, self._wandb_init = Experiment(folder), prefix, init


class Derived(WandbLogger):
    pass


@pytest.mark.parametrize(
    ("logger", "is_one"), [(WandbLogger(), True), (Derived(), True), (SimpleNamespace(), False), (None, False)]
)
def test_a_w_and_b_logger_is_told_by_its_class(logger, is_one):
    assert live.is_wandb(logger) is is_one


@pytest.mark.parametrize(("prefix", "name"), [("", "perf/mfu"), ("exp1", "exp1-perf/mfu")])
def test_metrics_get_lightnings_axis_by_the_name_that_they_are_logged_under(prefix, name):
    logger = WandbLogger(prefix=prefix)
    live.set_axis(logger, ["perf/mfu"])
    assert logger.experiment.defined == [(name, {"step_metric": "trainer/global_step", "step_sync": True})]


@pytest.mark.parametrize(("prefix", "before"), [("", ""), ("exp1", "exp1-")])
def test_an_axis_of_ours_is_named_as_it_is_logged(prefix, before):
    logger = WandbLogger(prefix=prefix)
    live.set_axis(logger, ["loss/train"], "budget/tokens")
    assert logger.experiment.defined == [
        (f"{before}loss/train", {"step_metric": f"{before}budget/tokens", "step_sync": True})
    ]


def test_a_run_that_is_fed_from_tensorboard_keeps_its_axis():
    logger = WandbLogger(sync_tensorboard=True)
    live.set_axis(logger, ["perf/mfu"])
    assert logger.experiment.defined == []


def test_an_alert_is_a_warning():
    logger = WandbLogger()
    live.alert(logger, "low MFU", "it is 20%")
    assert logger.experiment.alerts == [{"title": "low MFU", "text": "it is 20%", "level": "WARN"}]


def test_the_summary_gets_names_of_its_own_and_nothing_unknown():
    logger = WandbLogger()
    live.write_summary(logger, {"mfu_mean": 0.0, "status": "finished", "hfu_mean": None})
    assert logger.experiment.summary == {"flopwatch/mfu_mean": 0.0, "flopwatch/status": "finished"}


@pytest.fixture
def wandb(monkeypatch):
    made = SimpleNamespace(
        Table=lambda columns, data: ("table", columns, data), Html=lambda file, inject: ("page", file.read(), inject)
    )
    monkeypatch.setitem(__import__("sys").modules, "wandb", made)


TABLES = {"time": Table(("kind", "seconds"), [("training", 22.0)])}


def test_at_the_end_tables_the_page_and_a_copy_of_the_run_file_are_attached(wandb, tmp_path):
    page, run_file = tmp_path / "page.html", tmp_path / "20260101" / "run.jsonl"
    run_file.parent.mkdir()
    page.write_text("<p>")
    run_file.write_text("{}")
    logger = WandbLogger(tmp_path / "files")
    live.attach(logger, TABLES, page, run_file)
    assert logger.experiment.logged == [
        {
            "flopwatch/time": ("table", ["kind", "seconds"], [["training", 22.0]]),
            "flopwatch/report": ("page", "<p>", False),
        }
    ]
    # Named by its folder, so that those of a run's processes do not replace each other.
    copy = tmp_path / "files" / "20260101" / "run.jsonl"
    assert copy.read_text() == "{}"
    assert not copy.is_symlink()
    assert logger.experiment.saved == [(str(copy), {"base_path": str(tmp_path / "files"), "policy": "now"})]


def test_without_a_page_and_a_run_file_only_the_tables_are(wandb, tmp_path):
    logger = WandbLogger(tmp_path)
    live.attach(logger, TABLES, None, None)
    assert [list(each) for each in logger.experiment.logged] == [["flopwatch/time"]]
    assert logger.experiment.saved == []
