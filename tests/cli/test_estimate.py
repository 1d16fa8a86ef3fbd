"""`flopwatch estimate`, as typed."""

import json

import pytest

from flopwatch.cli.command_line import DONE, FAILED, main
from tests.model.test_components import LLAMA
from tests.model.test_conventions import GPT3
from tests.model.test_megatron_bridge import DEEPSEEK

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


def test_layers_that_predict_further_tokens_count_on_request(tmp_path, capsys):
    """DeepSeek-V3's layer adds a layer, a matrix of 2 x 7168 by 7168 and the head: 8 tokens at 6 FLOPs a parameter."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(DEEPSEEK))
    counted = []
    for more in ([], ["--mtp"]):
        assert main(["estimate", str(path), "--seq-len", "8", "--json", *more]) == DONE
        counted.append(json.loads(capsys.readouterr().out))
    without, both = counted
    # Attention 187,105,280; router, shared and 8 routed experts 1,835,008 + 9 x 44,040,192; eh_proj; head 926,679,040.
    products = 187_105_280 + 1_835_008 + 9 * 44_040_192 + 2 * 7168**2 + 7168 * 129_280
    pairs = 8 * 9 // 2 * 128 * (192 + 128)
    assert both["training_flops"] - without["training_flops"] == 6 * (8 * products + pairs)
    assert both["parameters"] > without["parameters"]


def test_a_folder_with_a_config_will_do(config, capsys):
    assert main(["estimate", str(config.parent), "--seq-len", "16"]) == DONE
    assert "gpt2" in capsys.readouterr().out


BAD_CONFIGS = {
    "unknown model": (
        {"model_type": "transmogrifier"},
        "no closed form for model_type 'transmogrifier'",
    ),
    "no model type": ({"n_embd": 12}, "expected a config with a 'model_type'"),
    "adapter": ({"peft_type": "LORA", "r": 16}, "got an adapter's config of PEFT instead; pass the model's"),
    "tokenizer": ({"tokenizer_class": "LlamaTokenizer"}, "got a tokenizer's config instead"),
    "generation": ({"eos_token_id": 2, "temperature": 0.6}, "got a generation config instead"),
    "diffusers": ({"_class_name": "X", "_diffusers_version": "0.6.0"}, "got a file of diffusers instead"),
    "Meta's": ({"dim": 4096, "n_layers": 32, "multiple_of": 256}, "got a params.json of Meta's instead"),
    "forgotten model type": ({"hidden_size": 64, "eos_token_id": 2}, "got one without; pass the model's config.json"),
    "index": ({"metadata": {}, "weight_map": {}}, "got the index of a checkpoint instead"),
    "missing field": ({key: LLAMA[key] for key in LLAMA if key != "hidden_size"}, "config lacks 'hidden_size'"),
    "text for a number": ({**LLAMA, "hidden_size": "64"}, "a positive whole number for 'hidden_size', got '64'"),
    "negative": ({**LLAMA, "num_hidden_layers": -1}, "a positive whole number for 'num_hidden_layers', got -1"),
    "heads do not divide": ({**LLAMA, "hidden_size": 65}, "65 is not a multiple of its 4 attention heads"),
    "groups do not divide": ({**LLAMA, "num_key_value_heads": 3}, "not a multiple of num_key_value_heads=3"),
    "flag is text": ({**LLAMA, "attention_bias": "yes"}, "true or false for 'attention_bias', got 'yes'"),
    "random layers": ({"model_type": "opt", "layerdrop": 0.1, "hidden_size": 65}, "leaves layers out at random"),
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
def test_a_bad_config_is_one_clear_line(name, tmp_path, assert_known_failure):
    config, said = BAD_CONFIGS[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert_known_failure(["estimate", str(tmp_path), "--seq-len", "8"], said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seq-len", "0"], "positive whole amount, got '0'"),
        (["--seq-len", "-5"], "got '-5'"),
        (["--seq-len", "8", "--batch", "many"], "expected a number"),
        (["--seq-len", "8", "--tokens", "1.4X"], "one of the suffixes K, M, B, T, Q, got '1.4X'"),
        (["--seq-len", "8", "--gpu", "H1000", "--mfu", "0.4"], "no peak known for a device named 'H1000'"),
        (["--seq-len", "8", "--gpu", "Tesla T4", "--mfu", "0.4"], "no bf16 peak for Tesla T4; known peaks: fp16"),
        (["--seq-len", "8", "--gpu", "H100"], "'H100' may be several: pass h100-sxm5-80gb (989 TFLOP/s bf16), "),
        (["--seq-len", "8", "--mfu", "0.4"], "expected --gpu with --mfu, --count, --usd-per-gpu-hour and --chips"),
        (["--seq-len", "8", "--count", "8"], "expected --gpu with --mfu, --count, --usd-per-gpu-hour and --chips"),
        (["--seq-len", "8", "--lora-targets", "q_proj"], "expected --lora-rank with --lora-targets"),
        (["--seq-len", "8", "--lora-rank", "4", "--lora-targets", "q_prj"], "got 'q_prj'; this model has "),
        (["--seq-len", "8", "--freeze", "vision"], "expected a part of the model to freeze, got 'vision'"),
        (["--source-len", "3k"], "--source-len: expected a number without a suffix"),
        (["--seq-len", "8", "--tokens", "-5"], "--tokens: expected a positive whole amount, got '-5'"),
        (["--seq-len", "8", "--gpu", "NVIDIA H200", "--mfu", "40"], "at most 1, like 0.4, got 40"),
        (["--seq-len", "4096"], "2048 learned positions"),
    ],
)
def test_bad_arguments_of_estimate_are_one_clear_line(arguments, said, config, assert_known_failure):
    assert_known_failure(["estimate", str(config), *arguments], said)


NO_CONFIGS = {
    "empty.json": (b" \n", "got an empty file; copy it from the model again"),
    "pointer.json": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "run `git lfs pull`"),
    "page.json": (b"\n<!doctype html>", "got a web page; download the raw file"),
    "config.yaml": (b"model_type: gpt2\n", "got YAML; write its fields as JSON"),
    "comma.json": (b'{"model_type": "gpt2",\n}', "a comma before a closing bracket at line "),
    "commas.json": (b'{"layer_types": ["full", "full" , ]}', "a comma before a closing bracket at line 1; remove it"),
    "quotes.json": (b"{'model_type': 'gpt2'}", "at line 1, column 2 ("),
    "weights.json": (b"\xff\xfe\x00", "got no text; give the config.json beside it"),
    "list.json": (b"[1]", "got a list; give one config"),
}


@pytest.mark.parametrize("name", NO_CONFIGS)
def test_what_a_file_is_instead_is_told_with_what_to_do(name, tmp_path, assert_known_failure):
    content, said = NO_CONFIGS[name]
    (tmp_path / name).write_bytes(content)
    assert_known_failure(["estimate", str(tmp_path / name), "--seq-len", "8"], said)


def test_of_a_folder_without_a_config_those_below_are_named(tmp_path, assert_known_failure):
    for each in "ab":
        (tmp_path / each).mkdir()
        (tmp_path / each / "config.json").write_text("{}")
    assert_known_failure(["estimate", str(tmp_path), "--seq-len", "8"], "there is one in each of a, b: give these")


def test_what_can_be_no_path_is_told_and_nothing_is_downloaded(assert_known_failure):
    assert_known_failure(["estimate", "a\0b", "--seq-len", "8"], "expected a config.json or its folder, got")
    address = "https://huggingface.co/gpt2/resolve/main/config.json"
    assert_known_failure(["estimate", address, "--seq-len", "8"], "nothing is downloaded, so save that file here first")


def test_names_of_publishers_code_lead_to_transformers_classes(tmp_path, assert_known_failure):
    config = {"model_type": "internvl_chat", "llm_config": {}, "vision_config": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert_known_failure(["estimate", str(tmp_path), "--seq-len", "8"], "transformers has the model as internvl: give")


def test_files_that_are_no_config_are_one_clear_line(tmp_path, assert_known_failure):
    assert_known_failure(["estimate", str(tmp_path / "no"), "--seq-len", "8"], "found no file at")
    assert_known_failure(["estimate", "meta-llama/Llama-3.1-8B", "--seq-len", "8"], "download its config.json first")
    (tmp_path / "bad.json").write_text("{")
    assert_known_failure(["estimate", str(tmp_path / "bad.json"), "--seq-len", "8"], "expected JSON in")
    (tmp_path / "bin.json").write_bytes(b"\xff\xfe\x00" * 10)
    assert_known_failure(["estimate", str(tmp_path / "bin.json"), "--seq-len", "8"], "expected JSON in")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    assert_known_failure(["estimate", str(tmp_path / "deep.json"), "--seq-len", "8"], "expected JSON in")


@pytest.mark.parametrize(("text", "size"), [("32", [32, 32]), ("32x64", [32, 64]), ("32X64", [32, 64])])
def test_an_image_is_a_square_or_height_by_width(tmp_path, capsys, text, size):
    vit = {"model_type": "vit", "image_size": 16, "patch_size": 8, "hidden_size": 64, "num_hidden_layers": 1}
    (tmp_path / "config.json").write_text(json.dumps({**vit, "num_attention_heads": 4, "intermediate_size": 99}))
    assert main(["estimate", str(tmp_path), "--image-size", text, "--json"]) == DONE
    assert json.loads(capsys.readouterr().out)["image_size"] == size


def test_a_length_with_a_suffix_is_told_in_powers_of_two(config, capsys):
    assert main(["estimate", str(config), "--seq-len", "1K", "--batch", "2", "--json"]) == DONE
    assert json.loads(capsys.readouterr().out)["seq_len"] == 1024


def test_without_a_utilization_there_are_rows_for_three(config, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    plan = ["--tokens", "300B", "--gpu", "h100-sxm5-80gb", "--count", "1024", "--usd-per-gpu-hour", "2.5"]
    assert main(["estimate", str(config), "--seq-len", "2k", *plan]) == DONE
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "peak        989 TFLOP/s dense bf16 per GPU (H100 whitepaper Table 3)" in lines
    # 223,596 GPU-hours at 40% are 298,128 at 30 and 178,877 at 50; x 2.5 USD.
    assert [line.split()[-2:] for line in lines[-3:]] == [
        ["298,128", "$745,321"],
        ["223,596", "$558,990"],
        ["178,877", "$447,192"],
    ]
    assert main(["estimate", str(config), "--seq-len", "2k", *plan, "--json"]) == DONE
    values = json.loads(capsys.readouterr().out)
    assert [each["mfu"] for each in values["scenarios"]] == [0.3, 0.4, 0.5]
    assert "mfu" not in values


def test_a_run_of_centuries_is_told_in_years(config, capsys):
    assert main(["estimate", str(config), "--seq-len", "2k", "--tokens", "15T", "--gpu", "v100-sxm2", *FP16]) == DONE
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("time "))
    # 15e12 / 2048 x 2.1747e15 FLOPs / (125e12 x 0.4) = 3.186e11 s = 10,101 years of 365 days.
    assert line.split()[1] == "10,101y"


FP16 = ["--dtype", "fp16", "--mfu", "0.4"]


def test_chinchilla_and_lora_as_typed(config, capsys):
    assert main(["estimate", str(config), "--seq-len", "8", "--tokens", "chinchilla", "--json"]) == DONE
    assert json.loads(capsys.readouterr().out)["tokens"] == 20 * 174_604_259_328
    lora = ["--lora-rank", "8", "--lora-targets", "c_attn"]
    assert main(["estimate", str(config), "--seq-len", "8", *lora]) == DONE
    out = capsys.readouterr().out
    # c_attn is 12,288 -> 36,864 in 96 layers: 96 x 8 x 49,152 = 37,748,736.
    assert "37,748,736 parameters (<0.1%): LoRA of rank 8 on 96 layers (c_attn)" in " ".join(out.split())


def test_several_configs_are_a_table_and_one_that_fails_does_not_take_the_others(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for name, changes in (("one", {}), ("two", {"n_layer": 48}), ("bad", {"n_layer": -1})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({**GPT3, **changes}))
    paths = [str(tmp_path / name / "config.json") for name in ("one", "two", "bad")]
    plan = ["--tokens", "300B", "--gpu", "h100-sxm5-80gb"]
    assert main(["estimate", *paths, "--seq-len", "2k", *plan]) == FAILED
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].split() == ["parameters", "per", "token", "run", "at", "30%", "at", "40%", "at", "50%"]
    assert [line.split()[:2] for line in lines[2:4]] == [["one", "175B"], ["two", "87.6B"]]
    assert all(len(line) <= 80 for line in lines)
    assert captured.err.startswith("flopwatch: 1 of 3 configs cannot be counted, first bad: ")
    assert main(["estimate", *paths[:2], "--seq-len", "2k", "--json"]) == DONE
    assert [each["name"] for each in json.loads(capsys.readouterr().out)["estimates"]] == ["one", "two"]


def test_sizes_that_cost_speed_are_told(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({**GPT3, "n_layer": 2}))
    assert main(["estimate", str(tmp_path), "--seq-len", "8"]) == DONE
    assert "a vocabulary of 50,257 is no multiple of 8: 50,304 is" in " ".join(capsys.readouterr().out.split())


def test_a_wrong_count_names_its_option(config, assert_known_failure):
    assert_known_failure(["estimate", str(config), "--seq-len", "8k9"], "--seq-len: ")
    assert_known_failure(["estimate", str(config), "--seq-len", "8", "--image-size", "8xx"], "--image-size: ")
    assert_known_failure(["estimate", str(config), "--seq-len", "8", "--frames", "none"], "--frames: ")
    assert_known_failure(["estimate", str(config), "--seq-len", "8", "--seconds", "0"], "--seconds: ")


VIDEO = {"depth": 1, "embed_dim": 16, "hidden_size": 64, "num_heads": 2, "patch_size": 14}


def test_images_and_videos_are_counted_or_it_says_that_they_are_not(tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**LLAMA, "model_type": "qwen2_vl", "vision_config": VIDEO}))

    def counted(*options):
        assert main(["estimate", str(path), "--seq-len", "256", "--json", *options]) == DONE
        return json.loads(capsys.readouterr().out)

    text, image = counted(), counted("--image-size", "56", "--images", "2")
    assert "text alone" in text["notes"][0]
    assert (image["notes"], image["forward_flops"] > text["forward_flops"]) == ([], True)
    # Frames become one by twos: four of them are two images.
    video = counted("--image-size", "56", "--images", "2", "--frames", "4")
    assert video["forward_flops"] - text["forward_flops"] == 2 * (image["forward_flops"] - text["forward_flops"])


def test_seconds_of_sound_are_frames_of_its_spectrogram(tmp_path, capsys):
    path = tmp_path / "config.json"
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    sizes |= {"d_model": 16, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "vocab_size": 32}
    path.write_text(json.dumps({"model_type": "whisper", **sizes}))
    told = []
    for options in (["--seconds", "30"], ["--source-len", "3000"]):
        assert main(["estimate", str(path), "--seq-len", "16", "--json", *options]) == DONE
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] == told[1]
