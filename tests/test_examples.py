"""The examples in short mode, as a user runs them, and the main one's FLOPs against torch's counter."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from flopwatch.model.backward import training_flops
from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of
from flopwatch.report.report import summarize
from flopwatch.run.run_file import read_run
from tests.lightning.models import EXAMPLE, example
from tests.wandb import log as wandb_log

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seq_len", [64, 256])
def test_the_examples_model_equals_the_counter_to_the_integer(seq_len):
    config = example.GPTConfig()
    with torch.device("meta"):
        model = example.GPT(config)
    architecture, batch = architecture_of(config), Batch(3, seq_len)
    assert architecture.parameters() == sum(parameter.numel() for parameter in model.parameters())
    tokens = torch.zeros(3, seq_len, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter:
        model._loss((tokens, tokens)).backward()
    assert training_flops(architecture.with_full_attention(), batch) == counter.get_total_flops()


def test_the_main_job_runs_from_nothing_to_a_report_and_resumes(tmp_path):
    def run(*arguments):
        command = [sys.executable, str(EXAMPLE), "--batch-size", "2", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    result = run("--max-steps", "55")
    assert result.returncode == 0, result.stderr
    printed = result.stdout + result.stderr
    runs = tmp_path / "runs"
    (report_page,) = runs.rglob("report.html")
    assert f"written: {report_page.resolve()}" in printed
    assert "flopwatch: MFU " in printed
    report = summarize(read_run(runs))
    assert report.device.peak_source.startswith("measured: ")
    # 20,779,008 FLOPs per token by the exact count, 2 x 256 tokens a step.
    per_token = training_flops(architecture_of(example.GPTConfig()), Batch(1, 256)) // 256
    assert report.totals.counts.flops == 55 * 2 * 256 * per_token
    assert 0 < report.mfu < 1.5
    assert "train/loss" in {key for row in wandb_log.history(runs) for key in row}
    result = run("--max-steps", "60", "--resume")
    assert result.returncode == 0, result.stderr
    assert summarize(read_run(runs)).totals.counts.flops == 60 * 2 * 256 * per_token
    assert Path(runs, "checkpoints", "last.ckpt").exists()
    result = run("--max-steps", "2")
    assert result.returncode == 0, result.stderr
    assert summarize(read_run(runs)).totals.counts.flops == 2 * 2 * 256 * per_token, "without --resume it starts anew"


def run_example(folder, name, *arguments, launcher=()):
    command = [sys.executable, *launcher, str(EXAMPLE.with_name(f"{name}.py")), *arguments]
    threads = {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, env={**os.environ, **threads}
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


# FLOPs of one step by hand: a product is 2 x rows x in x out, and training is three products for one, but two for the
# first layer, whose input is the data.
DENSE = 128 * (2 * 2 * 64 * 512 + 3 * 2 * (512 * 512 + 512))
CONVOLUTIONS = 64 * (2 * 2 * 32 * 32 * 27 * 32 + 3 * 2 * (16 * 16 * 288 * 64 + 8 * 8 * 576 * 128 + 128 * 10))


@pytest.mark.parametrize(
    ("name", "verification", "flops"),
    [
        ("minimal", "watched", DENSE),
        ("cnn", "watched", CONVOLUTIONS),
        ("hugging_face", "verified", None),
        ("lora", "verified", None),
    ],
)
def test_examples_run_and_are_counted(tmp_path, name, verification, flops):
    run_example(tmp_path, name, "--max-steps", "6")
    report = summarize(read_run(tmp_path))
    assert (report.step, report.status, report.work.verification) == (6, "finished", verification)
    assert report.mfu is not None
    if flops is not None:
        assert report.totals.counts.flops == 6 * flops
    assert "FLOPs" in run_example(tmp_path, "read_report", ".")
    assert (tmp_path / "report.md").read_text().startswith("# ")


def test_lora_costs_about_two_thirds(tmp_path):
    run_example(tmp_path, "lora", "--max-steps", "2")
    work = summarize(read_run(tmp_path)).work
    assert 1.9 < work.training_flops / work.forward_flops < 2.1


def test_the_example_for_torchrun_counts_all_ranks(tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    run_example(tmp_path, "ddp", "--max-steps", "6", launcher=launcher)
    report = summarize(read_run(tmp_path))
    # Two ranks, batches of 8 sequences of 64 tokens.
    assert (report.device.count, report.totals.counts.tokens) == (2, 6 * 2 * 8 * 64)
