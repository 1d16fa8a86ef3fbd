"""The example in short mode, as a user runs it, and its model's FLOPs against torch's counter."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from flopwatch.architectures import architecture_of
from flopwatch.backward import training_flops
from flopwatch.batch import Batch
from flopwatch.report import summarize
from flopwatch.runfile import read_run
from tests.lightning.models import EXAMPLE, example
from tests.wandb import log as wandb_log


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
    assert f"written: {report_page.relative_to(tmp_path)}" in printed
    assert "flopwatch: MFU " in printed
    report = summarize(read_run(runs))
    assert report.device.peak_source.startswith("measured: ")
    # 20,779,008 FLOPs per token by the exact count, 2 x 256 tokens a step.
    per_token = training_flops(architecture_of(example.GPTConfig()), Batch(1, 256)) // 256
    assert report.totals.flops == 55 * 2 * 256 * per_token
    assert 0 < report.mfu < 1.5
    assert "train/loss" in {key for row in wandb_log.history(runs) for key in row}
    result = run("--max-steps", "60", "--resume")
    assert result.returncode == 0, result.stderr
    assert summarize(read_run(runs)).totals.flops == 60 * 2 * 256 * per_token
    assert Path(runs, "checkpoints", "last.ckpt").exists()
