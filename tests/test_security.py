"""Files are data, pages are escaped, secrets stay where they are, and nobody is asked who was not meant to be."""

import ast
import json
import logging
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from wandb.proto.wandb_internal_pb2 import Record, RunExitRecord

from flopwatch import FlopWatch
from flopwatch.cli.command_line import main
from flopwatch.run.record_lines import to_json
from flopwatch.run.records import Event, Profile
from tests import samples
from tests.lightning.models import MemoryLogger, TinyGPT, loader, trainer
from tests.wandb.log import write as write_log

SCRIPTS = Path(__file__).parent / "scripts"

SOURCE = Path(__file__).parents[1] / "src" / "flopwatch"
LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "vocab_size": 100,
}
SECRET = "hf_TOPSECRETTOKEN"
ESCAPES = "\x1b]0;pwned\x07\x1b[2J\u202e"


def write_run(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(to_json(each) + "\n" for each in records))
    return path


@pytest.fixture
def run_file(tmp_path):
    return write_run(tmp_path / "run" / "run.jsonl", samples.healthy_run())


@pytest.fixture
def config(tmp_path):
    def write(**values):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(values))
        return path

    return write


def fails_in_one_line(capsys, *arguments):
    assert main([str(each) for each in arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert len(line) < 600
    return line


# --- data is data ---


def test_nothing_in_the_source_runs_what_it_reads():
    forbidden = {"pickle", "marshal", "shelve", "dill", "joblib", "yaml"}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not forbidden & {each.partition(".")[0] for each in names}, path
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "compile", "torch.load", "os.system", "os.popen"), path
                assert not any(each.arg == "shell" for each in node.keywords), path


@pytest.mark.parametrize("other", ["/etc/passwd", "../config.json", "/dev/zero"])
def test_a_config_opens_no_other_file(config, capsys, other):
    path = config(model_type="gemma3", text_config={**LLAMA, "model_type": "gemma3_text"}, vision_config=other)
    assert "needs an object for 'vision_config'" in fails_in_one_line(capsys, "estimate", path, "--seq-len", 16)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 10**12},
        {"num_hidden_layers": 50_000_000},
        {"num_hidden_layers": -1},
        {"hidden_size": 10**4000},
        {"vocab_size": float("inf")},
        {"model_type": "xglm", "num_layers": 10**6},
        {"model_type": "xglm", "num_labels": 10**9},
        {"model_type": "x" * 10**6},
    ],
)
def test_absurd_configs_end_at_once(config, capsys, changes):
    fails_in_one_line(capsys, "estimate", config(**{**LLAMA, **changes}), "--seq-len", 16)


@pytest.mark.parametrize(
    "values", [{"depths": [10**12, 1, 1, 1]}, {"depths": [10**4000, 1, 1, 1]}, {"hidden_sizes": [10**4000, 8, 8, 8]}]
)
def test_absurd_lists_of_sizes_end_at_once(config, capsys, values):
    fails_in_one_line(capsys, "estimate", config(model_type="resnet", **values))


def test_an_endless_quantity_ends_at_once(config, capsys):
    path = config(**LLAMA)
    line = fails_in_one_line(capsys, "estimate", path, "--seq-len", 16, "--tokens", "1" * 100_000 + " 1")
    assert "got 100,002 characters" in line


def test_devices_and_pipes_are_not_read(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe"):
        assert "expected a regular file" in fails_in_one_line(capsys, "estimate", path, "--seq-len", 16)
        assert "expected a regular file" in fails_in_one_line(capsys, "gpus", "--name", "NVIDIA H200", "--chips", path)
        fails_in_one_line(capsys, "report", path)
        fails_in_one_line(capsys, "watch", path)


def sparse(path, first, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(first)
        file.truncate(size)
    return path


def in_bounds(python, tmp_path, mebibytes, *arguments):
    """Run a command with so much memory and 60 seconds."""
    result = python(
        SCRIPTS / "bounded_command.py",
        mebibytes,
        *arguments,
        cwd=tmp_path,
        timeout=60,
        environment={"OMP_NUM_THREADS": "1"},
    )
    assert "Traceback" not in result.stderr, result.stderr[-2000:]
    return result


@pytest.mark.slow
@pytest.mark.parametrize("command", [("report",), ("watch", "--table")])
def test_huge_files_do_not_fill_memory(python, tmp_path, command):
    lines = "".join(to_json(each) + "\n" for each in samples.healthy_run()).encode()
    path = sparse(tmp_path / "run.jsonl", lines, 2**31)
    assert in_bounds(python, tmp_path, 1536, *command, path).returncode == 0


@pytest.mark.parametrize("command", [("report",), ("watch", "--table")])
def test_a_bomb_of_a_record_does_not_fill_memory(python, tmp_path, command):
    # A history record (field 2) of 30 MB: millions of empty items (field 1), two bytes each.
    items = b"\x0a\x00" * 15_000_000
    length, digits = len(items), bytearray()
    while length:
        length, digit = length >> 7, length & 0x7F
        digits.append(digit | (0x80 if length else 0))
    path = tmp_path / "run-x.wandb"
    write_log(path, [b"\x12" + bytes(digits) + items, Record(exit=RunExitRecord()).SerializeToString()])
    assert in_bounds(python, tmp_path, 1536, *command, path).returncode in (0, 1)


def test_long_texts_of_a_run_file_are_cut(tmp_path, capsys):
    records = samples.healthy_run()
    events = [Event(1025.0, "word " * 200_000) for _ in range(20)]
    path = write_run(tmp_path / "run.jsonl", [*records[:-1], *events, records[-1]])
    for form in ("text", "md", "html", "json"):
        assert main(["report", str(path), "--format", form, "-o", str(tmp_path / "out")]) == 0
        assert len((tmp_path / "out").read_text()) < 6_000_000


def test_whole_numbers_without_end_are_no_record(tmp_path, capsys):
    work = replace(samples.WORK, conventions={"palm": 10**400})
    path = write_run(tmp_path / "run.jsonl", [samples.start(), work, *samples.healthy_run()[2:]])
    assert main(["report", str(path)]) == 0
    assert "1 unreadable line(s)" in capsys.readouterr().out


# --- what is shown ---


def test_no_name_moves_a_terminals_cursor(config, tmp_path, capsys):
    chips = tmp_path / "chips.csv"
    chips.write_text(f'names,bf16,source,notes\nNVIDIA X,1e12,"a{ESCAPES}","b{ESCAPES}"\n')
    for arguments in (
        ("estimate", config(**{**LLAMA, "architectures": [ESCAPES]}), "--seq-len", "16"),
        ("estimate", config(**{**LLAMA, "model_type": ESCAPES, "a_config": {}, f"{ESCAPES}_config": {}})),
        ("gpus", "--name", "NVIDIA X", "--chips", chips),
        ("estimate", config(**LLAMA), "--seq-len", "16", "--gpu", "NVIDIA X", "--mfu", "0.4", "--chips", chips),
        ("report", tmp_path / f"no{ESCAPES}where"),
    ):
        main([str(each) for each in arguments])
    written = capsys.readouterr()
    assert (written.out + written.err).replace("\n", "").isprintable()


def test_no_text_of_a_run_becomes_markup_or_a_line_of_its_own(tmp_path):
    evil = f"<img src=x onerror=alert(1)>\n\n# MFU 99%\n[a](javascript:1) {ESCAPES}"
    device = replace(samples.H100, name=evil, peak_source=evil)
    records = samples.healthy_run()
    start = samples.start(name=evil, run_id=evil, device=device, versions={"x": evil})
    path = write_run(
        tmp_path / "run.jsonl", [start, replace(samples.WORK, note=evil), *records[2:-1], Event(1.0, evil)]
    )
    pages = {}
    for form in ("text", "md", "html", "json"):
        assert main(["report", str(path), "--format", form, "-o", str(tmp_path / "out")]) == 0
        pages[form] = (tmp_path / "out").read_text()
    assert "\n# MFU 99%" not in pages["text"] + pages["md"]
    assert "\x1b" not in pages["text"] + pages["md"] + pages["html"]
    page = re.sub(r"<script.*?</script>", "", pages["html"], flags=re.DOTALL)
    assert "<img" not in page
    assert "\u202e" not in page
    assert not re.search(r"<[^>]*\b(src|href)\s*=(?!\"#)", page), "the page loads nothing"


# --- what is written ---


def test_a_report_does_not_follow_a_link(run_file, tmp_path, capsys):
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    (run_file.parent / "report.html").symlink_to(victim)
    (run_file.parent / "run-2.progress").symlink_to(victim)
    assert main(["report", str(run_file), "--format", "html"]) == 0
    trainer(tmp_path, FlopWatch(dirpath=run_file.parent)).fit(TinyGPT(), loader(2))
    assert victim.read_text() == "mine"
    assert (run_file.parent / "report.html").read_text().startswith("<!")
    assert list(run_file.parent.glob(".report*")) == []


def test_a_pipe_beside_the_run_files_holds_up_no_resume(tmp_path):
    from pytorch_lightning.callbacks import ModelCheckpoint

    folder = tmp_path / "runs"
    saving = {"callbacks": [FlopWatch(dirpath=folder), ModelCheckpoint(tmp_path, save_last=True)]}
    one = trainer(tmp_path, *saving["callbacks"], enable_checkpointing=True, max_steps=3)
    one.fit(TinyGPT(), loader(3))
    os.mkfifo(folder / "run-9.jsonl")
    two = trainer(tmp_path, FlopWatch(dirpath=folder), max_steps=5)
    two.fit(TinyGPT(), loader(), ckpt_path=tmp_path / "last.ckpt")
    assert (folder / "run-2.jsonl").exists()


# --- secrets ---


class Telltale(pl.LightningModule):
    """Code of the user's that flopwatch calls fails, and says why with what it should not say."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(16, 1)

    def flops_per_batch(self, batch):
        raise RuntimeError(f"cannot fetch https://alice:{SECRET}@example.org with {os.environ['WANDB_API_KEY']}")

    def training_step(self, batch, batch_idx):
        return self.layer(batch[0].float()).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)


def test_no_secret_is_written(tmp_path, monkeypatch, caplog):
    """Neither the environment, nor the command line, nor what an exception of the user's says."""
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("WANDB_API_KEY", "key-0123456789abcdef")
    monkeypatch.setattr(sys, "argv", ["train.py", "--password", "opensesame"])
    logger = MemoryLogger()
    trainer(tmp_path, FlopWatch(every_n_steps=2), logger=logger, max_steps=6).fit(Telltale(), loader())
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".jsonl", ".html"}
    written = "".join(path.read_text() for path in files) + json.dumps(logger.rows) + json.dumps(logger.facts)
    for secret in (SECRET, "alice:", os.environ["WANDB_API_KEY"], "opensesame", "--password"):
        assert secret not in written
    assert "flops_per_batch failed: expected a whole number of FLOPs, got RuntimeError" in caplog.text.replace("'", "")


# --- network ---


def test_no_command_asks_anybody(python, tmp_path, run_file, config):
    path = config(**LLAMA)
    commands = [
        ("estimate", path, "--seq-len", 16),
        ("gpus", "--name", "NVIDIA H200"),
        ("gpus",),
        *(("report", run_file, "--format", form, "-o", tmp_path / "out") for form in ("text", "md", "html", "json")),
        ("watch", run_file, "--table"),
        ("dashboard", "team/project", "--json"),
    ]
    result = python(
        SCRIPTS / "watched_commands.py", json.dumps([[str(each) for each in command] for command in commands])
    )
    assert result.returncode == 0, result.stderr
    assert "NETWORK" not in result.stderr


@pytest.mark.parametrize(
    "values",
    [
        {"model_type": "detr", "backbone": "somebody/backbone", "use_timm_backbone": False},
        {
            "model_type": "xglm",
            "_attn_implementation": "somebody/kernel",
            "num_layers": 1,
            "d_model": 64,
            "ffn_dim": 64,
        },
        {"model_type": "xglm", "auto_map": {"AutoConfig": "somebody/code--x.Y"}, "num_layers": 1, "d_model": 64},
    ],
)
def test_a_config_that_names_a_hub_asks_nobody(python, config, values):
    result = python(
        SCRIPTS / "watched_commands.py", json.dumps([["estimate", str(config(**values)), "--seq-len", "16"]])
    )
    assert "NETWORK" not in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["passwd", "secret.json"])
def test_a_report_tells_nothing_of_a_file_that_a_run_file_names(tmp_path, capsys, name):
    (tmp_path / name).write_text(SECRET)
    profile = Profile(21, 3, 1.5, 2.0, str(tmp_path / name))
    path = write_run(tmp_path / "run" / "run.jsonl", [*samples.healthy_run()[:-1], profile, samples.end()])
    for form in ("text", "md", "json"):
        assert main(["report", str(path), "--format", form]) == 0
        out, errors = capsys.readouterr()
        assert "the trace of the profiled steps" in " ".join(out.split())
        assert SECRET[:6] not in out + errors
