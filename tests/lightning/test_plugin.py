"""`FLOPWATCH=1 python train.py` on a script that knows nothing of flopwatch, and LightningCLI."""

from pathlib import Path

import pytest

from flopwatch.errors import ArgumentError
from flopwatch.lightning import plugin
from flopwatch.run.run_file import read_run
from tests.lightning.models import FLOPS_PER_BATCH

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.mark.parametrize(
    ("variable", "files"), [("1", 1), ("budget=1M tokens; every_n_steps=2", 1), ("0", 0), (None, 0)]
)
def test_an_unchanged_script_is_watched_on_request(python, tmp_path, variable, files):
    environment = {} if variable is None else {"FLOPWATCH": variable}
    result = python(SCRIPTS / "plain.py", tmp_path, environment=environment)
    assert result.returncode == 0, result.stderr
    assert len(list(tmp_path.rglob("run.jsonl"))) == files
    if variable and ";" in variable:
        (segment,) = read_run(tmp_path).segments
        assert segment.start.budgets[0].text == "1M tokens"
        assert [window.step for window in segment.windows] == [1, 2, 4, 6]
        assert segment.end.totals.counts.flops == 6 * FLOPS_PER_BATCH


def test_a_script_with_its_own_keeps_its_own(python, tmp_path):
    result = python(SCRIPTS / "with_its_own.py", tmp_path, environment={"FLOPWATCH": "every_n_steps=1"})
    assert result.returncode == 0, result.stderr
    (path,) = tmp_path.rglob("run.jsonl")
    assert len(read_run(path).segments[0].windows) == 2


def test_lightning_pytorch_is_watched_too(python, tmp_path):
    result = python(SCRIPTS / "lightning_pytorch.py", tmp_path, environment={"FLOPWATCH": "1"})
    assert result.returncode == 0, result.stderr
    assert read_run(tmp_path).segments[0].end.totals.counts.steps == 6


@pytest.mark.slow
def test_a_run_started_with_the_variable_is_resumed_with_the_callback_and_back(python, tmp_path):
    watched = {"FLOPWATCH": "1"}
    assert python(SCRIPTS / "resumed.py", tmp_path / "a", 3, environment=watched).returncode == 0
    own = "[__import__('flopwatch').FlopWatch()]"
    result = python(SCRIPTS / "resumed.py", tmp_path / "b", 6, tmp_path / "a" / "step=3.ckpt", own)
    assert result.returncode == 0, result.stderr
    assert read_run(tmp_path / "b").segments[-1].end.totals.counts.flops == 6 * FLOPS_PER_BATCH
    result = python(SCRIPTS / "resumed.py", tmp_path / "c", 9, tmp_path / "b" / "step=6.ckpt", environment=watched)
    assert read_run(tmp_path / "c").segments[-1].end.totals.counts.flops == 9 * FLOPS_PER_BATCH


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["bugdet=3", "budget=lots"])
def test_a_wrong_option_fails_before_training_and_names_the_variable(python, tmp_path, variable):
    result = python(SCRIPTS / "plain.py", tmp_path, environment={"FLOPWATCH": variable})
    assert result.returncode != 0
    last = result.stderr.splitlines()[-1]
    assert "in the environment variable FLOPWATCH: expected" in last
    assert variable.split("=")[1] in last


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("1", {}),
        ("TRUE", {}),
        ("budget = 1.4T tokens ;", {"budget": ["1.4T tokens"]}),
        ("budget=1M tokens; budget=2 days", {"budget": ["1M tokens", "2 days"]}),
        ("peak_flops_per_second=measured;report=no", {"peak_flops_per_second": "measured", "report": False}),
        ("dtype=fp8; chips=my.csv", {"dtype": "fp8", "chips": "my.csv"}),
        (
            "profile=yes; profile_every=1 hour; val_loss=val/loss",
            {"profile": True, "profile_every": "1 hour", "val_loss": "val/loss"},
        ),
        ("peak_flops_per_second=989e12;every_n_steps=5", {"peak_flops_per_second": 989e12, "every_n_steps": 5}),
    ],
)
def test_options_are_read(text, options):
    assert plugin.parse_options(text) == options


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2", "expected 1 or options such as 'budget=1.4T tokens'"),
        ("budget", "expected 1 or options"),
        ("x=1", "of budget, on_budget, alert_below_mfu"),
        ("every_n_steps=a", "expected a whole number for every_n_steps, got 'a'"),
        ("report=maybe", "expected yes or no for report, got 'maybe'"),
        ("peak_flops_per_second=fast", "expected a number or 'measured' for"),
        ("report=no;report=yes", "expected report once, got it twice"),
    ],
)
def test_wrong_options_say_what_was_expected(text, said):
    with pytest.raises(ArgumentError, match=said):
        plugin.parse_options(text)


def test_the_options_are_arguments_of_the_callback():
    import inspect

    from flopwatch import FlopWatch

    functions = {"batch_shape", "flops_per_batch"}
    arguments = set(inspect.signature(FlopWatch).parameters)
    assert set(plugin._OPTIONS) == arguments - functions - {"optimizer_flops", "profile_ranks"}


def test_lightning_cli_takes_it_from_yaml(python, tmp_path):
    (tmp_path / "config.yaml").write_text(
        """
trainer:
  max_steps: 4
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  accelerator: cpu
  callbacks:
    - class_path: flopwatch.FlopWatch
      init_args:
        budget: 1M tokens
        peak_flops_per_second: 1.0e+12
"""
    )
    result = python(SCRIPTS / "cli.py", "fit", "--config", "config.yaml")
    assert result.returncode == 0, result.stderr
    (segment,) = read_run(tmp_path).segments
    assert segment.start.budgets[0].text == "1M tokens"
    assert segment.start.device.peak_flops_per_second == 1e12
    assert segment.end.totals.counts.flops == 4 * FLOPS_PER_BATCH
