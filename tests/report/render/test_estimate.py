"""An estimate in words and as JSON, from numbers that are made up."""

import json
from dataclasses import replace

import pytest

from flopwatch.model.architecture import ComponentRow
from flopwatch.model.batch import Batch
from flopwatch.model.estimate import Estimate, PlannedRun
from flopwatch.report.render.estimate import render_json, render_table, render_text

ESTIMATE = Estimate(
    model_type="llama",
    method="config",
    parameters=1000,
    active_parameters=1000,
    convention="model",
    attention="causal",
    batch=Batch(4, 100),
    forward_flops=8_000,
    training_flops=24_000,
    exact_training_flops=24_000,
    hardware_flops=24_000,
    components=(ComponentRow("mlp", 600, 6_000), ComponentRow("head", 400, 2_000)),
    batch_tokens=400,
)
PLAN = PlannedRun("NVIDIA H100", "bf16", 1024, 0.4, 1e15, "datasheet", 786_090.0, 223_600.0, 559_000.0)


def flat(**changes):
    return [" ".join(line.split()) for line in render_text(replace(ESTIMATE, **changes)).splitlines()]


def test_the_words_of_a_batch():
    assert flat()[2:4] == ["mlp 600 6,000 75.0%", "head 400 2,000 25.0%"]
    shown = flat()[5:]
    assert shown == [
        "model llama, 1,000 parameters",
        "convention model: exact: every matrix multiplication, attention over unmasked pairs only, LM head included",
        "attention causal, unmasked pairs only",
        "batch 4 x 100 tokens",
        "forward 8,000 FLOPs",
        "training 24,000 FLOPs, 60 FLOPs per token",
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"active_parameters": 400}, "model llama, 1,000 parameters, 400 active"),
        ({"method": "measured"}, "counted measured on the meta device: this model has no closed form"),
        ({"batch": Batch(2, 5, 30)}, "batch 2 x 5 tokens and 30 source positions"),
        ({"batch": Batch(2, image_size=(32, 64))}, "batch 2 x 32 x 64 pixels"),
        ({"batch": Batch(2)}, "batch 2 images at the config's size"),
        (
            {"hardware_flops": 30_000, "checkpointing": "reentrant"},
            "hardware FLOPs 30,000, +25.0% with reentrant checkpointing",
        ),
        ({"tokens": 10**12, "total_training_flops": 6 * 10**13}, "whole run 6e+13 FLOPs for 1T tokens"),
        ({"samples": 10**6, "total_training_flops": 6 * 10**9}, "whole run 6e+09 FLOPs for 1M samples"),
        (
            {"convention": "6nd", "training_flops": 20_000},
            "exact 2.4e+04 FLOPs (causal, unmasked pairs only), +20.00%",
        ),
        ({"convention": "macs"}, "forward 8,000 MACs"),
        ({"notes": ("a check was taken",)}, "note a check was taken"),
        ({"planned": PLAN}, "hardware 1,024 x NVIDIA H100 at 40% MFU"),
        ({"planned": PLAN}, "peak 1 PFLOP/s dense bf16 per GPU (datasheet)"),
        ({"planned": PLAN}, "time of one batch 9d 2h"),
        ({"planned": PLAN, "total_training_flops": 1, "tokens": 1}, "time 9d 2h"),
        ({"planned": PLAN}, "GPU-hours 223,600"),
        ({"planned": replace(PLAN, gpu_hours=0.01234)}, "GPU-hours 0.0123"),
        ({"planned": PLAN}, "cost $559,000"),
        ({"planned": replace(PLAN, usd=None)}, "cost n/a (pass --usd-per-gpu-hour)"),
    ],
)
def test_what_differs_has_its_line(changes, line):
    assert line in flat(**changes)


def test_routed_models_have_a_column_of_active_parameters():
    rows = (ComponentRow("experts", 600, 6_000, 100), ComponentRow("head", 400, 2_000))
    shown = flat(components=rows, active_parameters=500)
    assert shown[0] == "component parameters active forward FLOPs share"
    assert shown[2:4] == ["experts 600 100 6,000 75.0%", "head 400 n/a 2,000 25.0%"]


def test_without_a_mask_there_is_no_attention_line_and_no_word_of_it():
    shown = flat(is_masked=False)
    assert "convention model: exact: every matrix multiplication" in shown
    assert not any("attention" in line for line in shown)
    assert "exact 2.4e+04 FLOPs, +20.00%" in flat(is_masked=False, convention="6nd", training_flops=20_000)


def test_scenarios_are_rows_and_have_a_cost_where_there_is_a_price():
    rows = tuple(replace(PLAN, mfu=mfu, seconds=786_090 * 0.4 / mfu) for mfu in (0.3, 0.5))
    shown = flat(scenarios=rows, tokens=1, total_training_flops=1)
    assert "hardware 1,024 x NVIDIA H100" in shown
    # 786,090 s x 4 / 3 = 1,048,120 s = 12 days 3 hours; x 4 / 5 = 628,872 s = 7 days 7 hours.
    assert [shown[-4], *shown[-2:]] == [
        "MFU time GPU-hours cost",
        "30% 12d 3h 223,600 $559,000",
        "50% 7d 7h 223,600 $559,000",
    ]
    free = tuple(replace(each, usd=None) for each in rows)
    assert flat(scenarios=free)[-4] == "MFU one batch GPU-hours"


def test_what_trains_is_said_where_it_is_a_part():
    shown = flat(trained_parameters=50, tuning="LoRA of rank 2 on 3 layers (q_proj), all else frozen")
    assert "trained 50 parameters (5.0%): LoRA of rank 2 on 3 layers (q_proj), all else frozen" in shown
    assert json.loads(render_json(replace(ESTIMATE, trained_parameters=50)))["trained_parameters"] == 50
    assert json.loads(render_json(ESTIMATE))["trained_parameters"] == 1000


def test_a_narrow_terminal_gets_shorter_names_or_rounded_numbers():
    rows = (ComponentRow("model.layers[sparse].mlp.experts", 6 * 10**11, 6 * 10**14), ComponentRow("head", 400, 2_000))
    result = replace(ESTIMATE, components=rows, forward_flops=6 * 10**14 + 2_000, scenarios=(PLAN,))
    assert render_text(result, 120).splitlines()[2].split()[1:3] == ["600,000,000,000", "600,000,000,000,000"]
    assert render_text(result, 75).splitlines()[2].split()[:2] == ["...ayers[sparse].mlp.experts", "600,000,000,000"]
    rounded = ["model.layers[sparse].mlp.experts", "600B", "600", "TFLOPs", "100.0%"]
    assert render_text(result, 70).splitlines()[2].split()[1:] == rounded[1:]
    rows = (replace(rows[0], name=f"model.{'deep.' * 20}mlp"), rows[1])
    lines = render_text(replace(result, components=rows), 80).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[2].startswith("...")
    assert ".deep.mlp " in lines[2]


def test_several_estimates_are_a_table_with_a_row_each():
    planned = replace(ESTIMATE, tokens=1, total_training_flops=6 * 10**12, planned=PLAN, active_parameters=400)
    table = render_table({"a": planned, "b": replace(planned, active_parameters=1000)}).splitlines()
    assert table[0].split() == ["parameters", "active", "per", "token", "run", "time", "GPU-hours", "cost"]
    assert table[2].split() == ["a", "1K", "400", "60", "FLOPs", "6", "TFLOPs", "9d", "2h", "223,600", "$559,000"]
    assert table[3].split() == ["b", "1K", "60", "FLOPs", "6", "TFLOPs", "9d", "2h", "223,600", "$559,000"]
    assert "batch       4 x 100 tokens" in table
    images = replace(ESTIMATE, batch=Batch(4), batch_tokens=0)
    # 24,000 FLOPs over four images.
    assert render_table({"v": images}).splitlines()[2].split() == ["v", "1K", "6", "kFLOPs"]


def test_a_model_without_products_has_no_shares():
    assert flat(forward_flops=0, components=(ComponentRow("a", 1, 0),))[2] == "a 1 0 n/a"


def test_json_has_the_stable_keys_and_whole_flops():
    values = json.loads(render_json(replace(ESTIMATE, forward_flops=10**30 + 1)))
    assert values["forward_flops"] == 10**30 + 1
    assert (values["batch"], values["seq_len"], values["source_len"], values["attention"]) == (4, 100, None, "causal")
    assert {"tokens", "samples", "gpu", "total_training_flops"}.isdisjoint(values)


def test_json_of_a_planned_run_has_its_tokens_and_its_hardware():
    values = json.loads(render_json(replace(ESTIMATE, tokens=100, total_training_flops=6_000, planned=PLAN)))
    assert (values["tokens"], values["total_training_flops"]) == (100, 6_000)
    assert (values["gpu"], values["count"], values["mfu"], values["usd"]) == ("NVIDIA H100", 1024, 0.4, 559_000.0)
    assert "samples" not in values


def test_other_conventions_say_no_attention_of_ours():
    assert json.loads(render_json(replace(ESTIMATE, convention="palm")))["attention"] is None
    assert not any(line.startswith("attention") for line in flat(convention="palm"))
