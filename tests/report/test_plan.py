"""A run against its plan."""

import json
from dataclasses import replace

import pytest

from flopwatch.cli.command_line import main
from flopwatch.errors import ArgumentError
from flopwatch.model.architecture import ComponentRow
from flopwatch.report.plan import against, read_plan
from flopwatch.report.report import PlanLine, summarize
from flopwatch.run.run_file import read_run
from tests import samples
from tests.run.test_run_file import write

GPT3 = {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128, "vocab_size": 512}


@pytest.fixture
def run_file(tmp_path):
    return write(tmp_path / "run.jsonl", samples.healthy_run())


def test_what_was_planned_stands_beside_what_came(run_file):
    plan = {"training_flops": 1, "mfu": 0.5, "tokens": 16_800, "seconds": 70.0, "usd": 3.0, "count": 4, "gpu": "x"}
    report = against(summarize(read_run(run_file)), plan)
    assert report.plan == (
        PlanLine("MFU", "percent", 0.5, 0.4),
        PlanLine("tokens", "count", 16_800, 8_400),
        PlanLine("devices", "plain", 4, 2),
        PlanLine("wall time", "duration", 70.0, 35.0),
    )


def test_adapters_are_parameters_on_both_sides(tmp_path):
    rows = (*samples.WORK.components, ComponentRow("adapters", 50, 400))
    records = [samples.start(), replace(samples.WORK, components=rows), *samples.healthy_run()[2:]]
    report = summarize(read_run(write(tmp_path / "run.jsonl", records)))
    # 1,000 of the model and 50 of adapters.
    assert against(report, {"training_flops": 1, "parameters": 1050}).plan == (
        PlanLine("parameters", "count", 1050, 1050.0),
    )


def test_what_was_counted_in_another_way_is_not_compared(run_file):
    plan = {"training_flops": 1, "mfu": 0.5, "tokens": 16_800, "convention": "palm"}
    assert [line.words for line in against(summarize(read_run(run_file)), plan).plan] == ["tokens"]


def test_a_plan_of_the_estimate_is_read_and_shown(run_file, tmp_path, capsys):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(GPT3))
    gpu = ["--gpu", "NVIDIA H100 80GB HBM3", "--count", "2", "--mfu", "0.5"]
    assert main(["estimate", str(config), "--seq-len", "128", "--tokens", "1M", *gpu, "--json"]) == 0
    plan = tmp_path / "plan.json"
    plan.write_text(capsys.readouterr().out)
    for form in ("text", "md"):
        assert main(["report", str(run_file), "--plan", str(plan), "--format", form]) == 0
        shown = " ".join(capsys.readouterr().out.replace("|", " ").split())
        assert "Against the plan" in shown
        assert "MFU 50% 40% 80%" in shown
        assert "devices 2 2 100%" in shown


@pytest.mark.parametrize("content", ["", "[]", "{}", "nope", "[" * 100_000])
def test_another_file_is_no_plan(tmp_path, content):
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(ArgumentError, match="expected the output of `flopwatch estimate --json`"):
        read_plan(tmp_path / "plan.json")


def test_several_runs_have_no_plan(run_file, tmp_path, capsys):
    assert main(["report", str(run_file), str(run_file), "--plan", str(tmp_path / "no")]) == 1
    assert "expected one RUN with --plan" in capsys.readouterr().err
    assert main(["report", str(run_file), "--plan", str(tmp_path / "no")]) == 1
    assert "cannot read the plan" in capsys.readouterr().err
