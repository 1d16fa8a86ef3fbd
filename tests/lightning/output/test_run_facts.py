"""What is written once about a run."""

import sys
from dataclasses import replace

import pytest

from flopwatch.lightning.output import run_facts
from flopwatch.lightning.output.run_facts import hyperparameters, summary, tables, versions
from flopwatch.run.budget import Budget
from flopwatch.run.records import Device, Work
from tests import samples
from tests.report.render.test_facts import healthy, totals

BUDGETS = (Budget(40, "steps"), Budget(7200.0, "seconds"))


def test_versions_are_of_what_is_installed(monkeypatch):
    monkeypatch.setattr(run_facts, "_PACKAGES", ("torch", "there-is-no-such-package"))
    assert set(versions()) == {"python", "torch"}
    assert versions()["python"] == sys.version.split()[0]


def test_the_facts_say_what_was_counted_and_against_what():
    facts = hyperparameters(samples.WORK, samples.H100, BUDGETS, "580.95.05")
    # 24,000 FLOPs of 400 tokens.
    assert facts["training_flops_per_token"] == 60.0
    assert (facts["device"], facts["device_count"], facts["peak_flops_per_second"]) == (samples.H100.name, 2, 1e15)
    assert (facts["peak_source"], facts["driver"], facts["dtype"]) == ("datasheet: a sheet", "580.95.05", "bf16")
    assert (facts["attention"], facts["verification"]) == ("causal", "parameters equal")
    assert facts["budget"] == "40 steps, 2h 00m"
    assert facts["first_batch"]["training_flops"] == 24_000
    assert facts["parameters_by_component"] == {"layers.mlp": 600, "lm_head": 400}


@pytest.mark.parametrize(
    ("changes", "key", "value"),
    [
        ({"tokens": 400}, "forward_flops_per_token", {"layers.mlp": 15.0, "lm_head": 5.0}),
        ({"tokens": None}, "forward_flops_per_sample", {"layers.mlp": 1500.0, "lm_head": 500.0}),
    ],
)
def test_components_are_of_one_token_or_one_sample(changes, key, value):
    # 6,000 and 2,000 of 400 tokens, or of 4 sequences.
    assert hyperparameters(replace(samples.WORK, **changes), samples.H100, ())[key] == value


def test_what_is_unknown_is_absent():
    facts = hyperparameters(Work("withheld", "no formula"), Device("CPU", 1), ())
    assert None not in facts.values()
    assert {"peak_flops_per_second", "budget", "driver", "parameters", "parameters_by_component"}.isdisjoint(facts)
    assert facts["verification_note"] == "no formula"


def test_the_summary_has_totals_and_means_in_the_units_of_its_names():
    values = summary(healthy(loss=2.5, validation_loss=2.75))
    assert values.pop("verdict").startswith("40% MFU of the datasheet's peak")
    assert values == pytest.approx(
        {
            "mfu_mean": 0.4,
            "hfu_mean": 0.5,
            "mfu_at_clock_mean": 0.5,
            "run_mfu": 0.24,
            "tokens_per_sec_mean": 400.0,
            "flops_total": 16.8e15,
            "hardware_flops_total": None,
            "useful_tokens_total": None,
            "tokens_total": 8400.0,
            "kwh_total": 42_000 / 3_600_000,
            "joules_per_token_mean": 3.6,
            "sm_clock_mhz_mean": 1600.0,
            "throttled_frac_mean": 0.25,
            "driver": "580.95.05",
            "loss_last": 2.5,
            "validation_loss_last": 2.75,
            "device_hours_total": 70 / 3600,
            "wall_seconds": 35.0,
            "status": "finished",
        }
    )


def test_a_summary_of_what_is_not_known_is_none():
    values = summary(healthy(hardware=None, sm_clock_hz=None, totals=totals(flops=None, tokens=None, joules=None)))
    assert {values[name] for name in ("flops_total", "tokens_total", "kwh_total", "sm_clock_mhz_mean", "driver")} == {
        None
    }


def test_tables_are_of_time_and_of_components_where_there_are_some():
    found = tables(healthy())
    assert found["components"].rows == [("layers.mlp", 600.0, 6000.0, 0.75), ("lm_head", 400.0, 2000.0, 0.25)]
    assert found["time"].columns == ("kind", "seconds", "share")
    assert found["time"].rows[0] == ("training steps", 22.0, pytest.approx(22 / 35))
    assert set(tables(healthy(work=None))) == {"time"}
