import json

import pytest

from flopwatch.cli.command_line import DONE, FAILED, WRONG_USAGE, main
from tests import samples
from tests.model.test_components import LLAMA
from tests.model.test_conventions import GPT3
from tests.run.test_run_file import write


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(GPT3))
    return path


@pytest.fixture
def run_file(tmp_path):
    return write(tmp_path / "runs" / "run.jsonl", samples.healthy_run())


PLAN = ["--tokens", "300B", "--gpu", "NVIDIA H100 80GB HBM3", "--count", "1024", "--mfu", "0.4"]


def test_estimate_answers_the_napkin_question(config, capsys):
    assert main(["estimate", str(config), "--seq-len", "2048", *PLAN]) == DONE
    out = capsys.readouterr().out
    for said in ("174,604,259,328 parameters", "3.186e+23 FLOPs for 300B tokens", "989 TFLOP/s dense bf16", "9d 2h"):
        assert said in out, said
    assert "223,596" in out
    assert "time of one batch" not in out
    assert "n/a (pass --usd-per-gpu-hour)" in out


def test_estimate_as_json_has_the_stable_keys(config, capsys):
    arguments = ["estimate", str(config), "--seq-len", "2048", "--batch", "4", *PLAN, "--usd-per-gpu-hour", "2.5"]
    assert main([*arguments, "--json"]) == DONE
    values = json.loads(capsys.readouterr().out)
    stable = "model_type method parameters active_parameters attention batch seq_len forward_flops training_flops"
    stable += " hardware_flops training_flops_per_token components tokens total_training_flops gpu dtype"
    stable += " peak_flops_per_second count mfu seconds gpu_hours usd"
    assert set(stable.split()) <= set(values)
    assert isinstance(values["total_training_flops"], int)
    assert sum(row["forward_flops"] for row in values["components"]) == values["forward_flops"]
    assert sum(row["parameters"] for row in values["components"]) == values["parameters"]
    assert (values["method"], values["attention"], values["batch"]) == ("config", "causal", 4)


def test_the_6nd_convention_prints_the_exact_value_beside(config, capsys):
    assert main(["estimate", str(config), "--seq-len", "2048", "--convention", "6nd", "--tokens", "300B"]) == DONE
    out = capsys.readouterr().out
    assert "3.143e+23" in out
    assert "3.186e+23" in out


def test_a_folder_with_a_config_will_do(config, capsys):
    assert main(["estimate", str(config.parent), "--seq-len", "16"]) == DONE
    assert "gpt2" in capsys.readouterr().out


BAD_CONFIGS = {
    "unknown model": (
        {"model_type": "transmogrifier"},
        "no closed form for model_type 'transmogrifier'",
    ),
    "no model type": ({"n_embd": 12}, "expected a config with a 'model_type'"),
    "missing field": ({key: LLAMA[key] for key in LLAMA if key != "hidden_size"}, "config lacks 'hidden_size'"),
    "text for a number": ({**LLAMA, "hidden_size": "64"}, "a positive whole number for 'hidden_size', got '64'"),
    "negative": ({**LLAMA, "num_hidden_layers": -1}, "a positive whole number for 'num_hidden_layers', got -1"),
    "heads do not divide": ({**LLAMA, "hidden_size": 65}, "65 is not a multiple of its 4 attention heads"),
    "groups do not divide": ({**LLAMA, "num_key_value_heads": 3}, "not a multiple of num_key_value_heads=3"),
    "flag is text": ({**LLAMA, "attention_bias": "yes"}, "true or false for 'attention_bias', got 'yes'"),
    "another head": ({**LLAMA, "architectures": ["LlamaForTokenClassification"]}, "LlamaForTokenClassification"),
    "random layers": ({"model_type": "opt", "layerdrop": 0.1}, "left out at random"),
    "cross-attention": ({**GPT3, "add_cross_attention": True}, "cross-attention"),
    "bidirectional": ({**LLAMA, "model_type": "gemma", "use_bidirectional_attention": True}, "both directions"),
    "layer types": ({**LLAMA, "model_type": "qwen2", "layer_types": ["full_attention"]}, "a list of 3 entries"),
    "kind of layer": ({**LLAMA, "model_type": "qwen2", "layer_types": ["linear_attention"] * 3}, "'full_attention' or"),
    "composite": ({"model_type": "idefics9", "text_config": {"model_type": "llama"}}, "pass its 'text_config'"),
    "joined": ({"model_type": "x", "audio_config": {}, "vision_config": {}}, "audio_config, vision_config"),
    "half a composite": ({"model_type": "gemma3", "text_config": {"vocab_size": 8}}, "lacks 'vision_config'"),
    "misspelt": ({"model_type": "lama"}, "did you mean llama"),
    "a list": ([1, 2], "expected a JSON object"),
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_a_bad_config_is_one_clear_line(name, tmp_path, capsys):
    config, said = BAD_CONFIGS[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert_known_failure(["estimate", str(tmp_path), "--seq-len", "8"], said, capsys)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seq-len", "0"], "positive whole amount, got '0'"),
        (["--seq-len", "-5"], "got '-5'"),
        (["--seq-len", "8", "--batch", "many"], "expected a number"),
        (["--seq-len", "8", "--tokens", "1.4X"], "one of the suffixes K, M, B, T, Q, got '1.4X'"),
        (["--seq-len", "8", "--gpu", "H1000", "--mfu", "0.4"], "no peak known for a device named 'H1000'"),
        (["--seq-len", "8", "--gpu", "Tesla T4", "--mfu", "0.4"], "no bf16 peak for Tesla T4; known peaks: fp16"),
        (["--seq-len", "8", "--gpu", "NVIDIA H200"], "expected --mfu with --gpu"),
        (["--seq-len", "8", "--mfu", "0.4"], "expected --gpu with --mfu"),
        (["--seq-len", "8", "--count", "8"], "expected --gpu with --mfu, --count"),
        (["--seq-len", "8", "--tokens", "-5"], "--tokens: expected a positive whole amount, got '-5'"),
        (["--seq-len", "8", "--gpu", "NVIDIA H200", "--mfu", "40"], "at most 1, like 0.4, got 40"),
        (["--seq-len", "4096"], "2048 learned positions"),
    ],
)
def test_bad_arguments_of_estimate_are_one_clear_line(arguments, said, config, capsys):
    assert_known_failure(["estimate", str(config), *arguments], said, capsys)


def test_files_that_are_no_config_are_one_clear_line(tmp_path, capsys):
    assert_known_failure(["estimate", str(tmp_path / "no"), "--seq-len", "8"], "found no file at", capsys)
    (tmp_path / "bad.json").write_text("{")
    assert_known_failure(["estimate", str(tmp_path / "bad.json"), "--seq-len", "8"], "expected JSON in", capsys)
    (tmp_path / "bin.json").write_bytes(b"\xff\xfe\x00" * 10)
    assert_known_failure(["estimate", str(tmp_path / "bin.json"), "--seq-len", "8"], "expected JSON in", capsys)
    (tmp_path / "deep.json").write_text("[" * 100_000)
    assert_known_failure(["estimate", str(tmp_path / "deep.json"), "--seq-len", "8"], "expected JSON in", capsys)


def assert_known_failure(arguments, said, capsys):
    assert main(arguments) == FAILED
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("flopwatch: ")
    assert captured.err.count("\n") == 1
    assert said in captured.err


def test_gpus_by_name(capsys):
    assert main(["gpus", "--name", "NVIDIA H100 80GB HBM3", "--json"]) == DONE
    (gpu,) = json.loads(capsys.readouterr().out)["gpus"]
    assert (gpu["peak_flops_per_second"], gpu["dtype"], gpu["sm_count"]) == (989.4e12, "bf16", 132)
    assert main(["gpus", "--name", "Tesla T4"]) == DONE
    assert "65 TFLOP/s dense" in capsys.readouterr().out
    assert_known_failure(["gpus", "--name", "RTX A1000"], "nearest names:", capsys)


def test_gpus_of_this_machine_through_the_driver(python, fake_driver):
    fake_driver.set(count=2, name__1="NVIDIA Foo")
    script = "import sys; from flopwatch.cli import main; sys.exit(main(sys.argv[1:]))"
    result = python(script, "gpus", "--json", environment=fake_driver.environment())
    known, unknown = json.loads(result.stdout)["gpus"]
    assert (known["peak_flops_per_second"], known["sm_clock_hz"], known["index"]) == (989.4e12, 1980e6, 0)
    assert unknown["peak_flops_per_second"] is None
    assert "no peak known for a device named 'NVIDIA Foo'" in unknown["source"]
    text = python(script, "gpus", environment=fake_driver.environment()).stdout
    lines = text.splitlines()
    assert lines[0].split()[:2] == ["GPU", "name"]
    assert "1980 of 1980" in lines[2]
    assert "989.4 bf16" in lines[2]
    assert "no peak known for a device named 'NVIDIA Foo'" in text
    assert "what can be read on all GPUs (driver 580.95.05)" in text


def test_slices_have_the_peak_of_their_own_sms(python, fake_driver):
    fake_driver.set(slices=2, slice_sms=60)
    script = "import sys; from flopwatch.cli import main; sys.exit(main(sys.argv[1:]))"
    (gpu,) = json.loads(python(script, "gpus", "--json", environment=fake_driver.environment()).stdout)["gpus"]
    # 60 of 132 SMs: 989.4e12 x 60 / 132 = 449.7e12.
    assert [each["peak_flops_per_second"] for each in gpu["slices"]] == [pytest.approx(449.727e12, rel=1e-5)] * 2
    assert gpu["mig"]
    text = python(script, "gpus", environment=fake_driver.environment()).stdout
    assert text.count("0 MIG") == 2


def test_a_gpu_with_other_sms_than_its_name_says_has_no_peak(python, fake_driver):
    fake_driver.set(cores=14592)
    script = "import sys; from flopwatch.cli import main; sys.exit(main(sys.argv[1:]))"
    (gpu,) = json.loads(python(script, "gpus", "--json", environment=fake_driver.environment()).stdout)["gpus"]
    assert (gpu["peak_flops_per_second"], gpu["sm_count"]) == (None, 114)
    assert "should have 132 SMs, this one has 114" in gpu["source"]


AMDSMI = """
def amdsmi_init(): pass
def amdsmi_get_processor_handles(): return [0, 1, 2]
def amdsmi_get_gpu_asic_info(handle):
    if handle == 2: raise RuntimeError("no answer")
    return {"market_name": "AMD Instinct MI300X", "num_compute_units": (304, 80)[handle]}
def amdsmi_get_gpu_device_uuid(handle): return f"uuid-{handle}"
"""


def test_amds_gpus_have_a_name_and_a_peak_and_nothing_else(python, tmp_path):
    (tmp_path / "amdsmi.py").write_text(AMDSMI)
    script = "import sys; from flopwatch.cli import main; sys.exit(main(sys.argv[1:]))"
    result = python(script, "gpus", "--json", environment={"PYTHONPATH": str(tmp_path)})
    known, other, silent = json.loads(result.stdout)["gpus"]
    assert (known["peak_flops_per_second"], known["uuid"]) == (1307.4e12, "uuid-0")
    # Some MI308X call themselves MI300X; they have 80 compute units.
    assert (other["peak_flops_per_second"], silent["name"]) == (None, "unknown")
    text = python(script, "gpus", environment={"PYTHONPATH": str(tmp_path)}).stdout
    assert "on NVIDIA GPUs only" in text


def test_chips_of_a_file_are_known_to_gpus_and_estimate(tmp_path, config, capsys):
    table = tmp_path / "chips.csv"
    table.write_text("names,bf16\nNVIDIA Foo,123e12\n")
    assert main(["gpus", "--name", "NVIDIA Foo", "--chips", str(table)]) == DONE
    assert "123 TFLOP/s dense" in capsys.readouterr().out
    plan = ["--gpu", "NVIDIA Foo", "--mfu", "0.5", "--chips", str(table), "--json"]
    assert main(["estimate", str(config), "--seq-len", "8", *plan]) == DONE
    assert json.loads(capsys.readouterr().out)["peak_flops_per_second"] == 123e12
    table.write_text("names,bf16\nNVIDIA Foo,fast\n")
    assert_known_failure(["gpus", "--name", "x", "--chips", str(table)], "line 2, bf16: expected a number", capsys)
    assert_known_failure(["gpus", "--chips", str(tmp_path / "none.csv")], "check the path", capsys)


def test_gpus_without_a_driver_is_normal(python):
    script = "import sys; from flopwatch.cli import main; sys.exit(main(sys.argv[1:]))"
    result = python(script, "gpus", "--json")
    assert (result.returncode, json.loads(result.stdout)) == (DONE, {"gpus": []})
    assert result.stderr.count("\n") == 1


def test_report_in_every_form(run_file, tmp_path, capsys):
    assert main(["report", str(run_file.parent)]) == DONE
    assert "run MFU" in capsys.readouterr().out
    assert main(["report", str(run_file), "--format", "json"]) == DONE
    assert json.loads(capsys.readouterr().out)["mfu"] == pytest.approx(0.4)
    assert main(["report", str(run_file), "--format", "html"]) == DONE
    assert capsys.readouterr().out.strip() == str(run_file.with_name("report.html"))
    assert main(["report", str(run_file), "-o", str(tmp_path / "new" / "my.html")]) == DONE
    assert (tmp_path / "new" / "my.html").read_text().startswith("<!doctype html>")
    capsys.readouterr()
    assert main(["report", str(run_file), str(run_file)]) == DONE
    assert capsys.readouterr().out.count("At a glance\n") == 1


def test_a_run_file_with_absurd_times_still_opens(run_file, capsys):
    text = run_file.read_text().replace('"started_at":1000.0', '"started_at":-1e18')
    run_file.write_text(text)
    assert main(["report", str(run_file)]) == DONE
    assert "started          n/a" in capsys.readouterr().out


def test_a_work_record_that_cannot_be_read_is_said(run_file, capsys):
    lines = run_file.read_text().splitlines()
    run_file.write_text("\n".join([lines[0], lines[1][:50], *lines[2:]]) + "\n")
    assert main(["report", str(run_file)]) == DONE
    out = capsys.readouterr().out
    assert "40%" in out
    assert "the record is unreadable" in out
    assert "1 unreadable line(s)" in out


def test_bad_reports_are_one_clear_line(run_file, tmp_path, capsys):
    assert_known_failure(["report", 5000 * "x"], "found nothing at", capsys)
    assert_known_failure(["estimate", 5000 * "x", "--seq-len", "8"], "cannot read", capsys)
    assert_known_failure(["report", str(tmp_path / "no")], "found nothing at", capsys)
    assert_known_failure(["report", str(run_file), "--prefix", "x"], "expected --prefix only with --wandb", capsys)
    assert_known_failure(["report", str(run_file), "-o", str(run_file / "x.txt")], "cannot write", capsys)
    assert_known_failure(
        ["report", str(run_file), "-o", "x.pdf"], "ending in .txt, .md, .json, .html, or --format", capsys
    )


@pytest.mark.parametrize(
    "arguments", [[], ["dance"], ["estimate"], ["estimate", "x", "--seq-len"], ["gpus", "--dtype", "bf32"], ["report"]]
)
def test_wrong_usage_is_exit_code_2(arguments, capsys):
    assert main(arguments) == WRONG_USAGE
    assert "usage:" in capsys.readouterr().err


def test_help_and_version_are_done(capsys):
    assert main(["--version"]) == DONE
    assert capsys.readouterr().out.startswith("flopwatch 0.1")
    for command in ("estimate", "gpus", "report"):
        assert main([command, "--help"]) == DONE


def test_a_closed_pipe_is_no_failure(python, config):
    script = f"""
import subprocess, sys
command = [sys.executable, "-m", "flopwatch.cli"]
code = "import sys; from flopwatch.cli import main; sys.exit(main(['estimate', {str(config)!r}, '--seq-len', '8']))"
process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
process.stdout.close()
print(process.wait(), process.stderr.read())
"""
    assert python(script).stdout == "0 b''\n"
