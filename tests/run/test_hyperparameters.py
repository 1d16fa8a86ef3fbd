"""What of a run's hyperparameters may be written down."""

import math

import pytest

from flopwatch.run.hyperparameters import recordable


def test_numbers_truth_values_and_words_are_kept_as_they_are():
    values = {"lr": 3e-4, "depth": 12, "tied": True, "name": "adamw", "max_tokens": 5, "tokenizer": "bpe"}
    kept = recordable(values)
    assert kept == values
    assert kept["tied"] is True


@pytest.mark.parametrize(
    "name", ["api_key", "wandb_key", "token", "hf_token", "HF_TOKEN", "client_secret", "password", "_instantiator", 5]
)
def test_what_may_be_a_secret_by_its_name_is_left_out(name):
    assert recordable({name: "x", "lr": 1}) == {"lr": 1}


@pytest.mark.parametrize(
    "value",
    [
        *("postgres://user:word@host/runs", "hf_abcdefghijklmnopqrst", "sk-abcdefghij1234567890", "ghp_" + 20 * "a"),
        *(None, [1], {"lr": 1}, math.nan, math.inf, 10**70, object()),
    ],
)
def test_what_is_no_scalar_or_looks_like_an_access_token_is_left_out(value):
    assert recordable({"it": value, "lr": 1}) == {"lr": 1}


def test_addresses_and_paths_without_a_password_stay():
    values = {"data": "s3://bucket/a@b", "path": "/data/sk/hf"}
    assert recordable(values) == values


def test_there_is_an_end_to_it():
    kept = recordable({f"{place}{'x' * 500}": "y" * 500 for place in range(500)})
    assert len(kept) == 100
    assert {len(name) for name in kept} == {100}
    assert set(kept.values()) == {"y" * 200}
