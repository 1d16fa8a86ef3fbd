"""`flopwatch report --wandb`, where no server is asked; `wandb/test_reports.py` has the rest."""

import pytest

from flopwatch.cli.wandb_report import _names


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a/p", "--plan", "plan.json"], "expected --plan without --wandb"),
        (["a/p", "-o", "x.html"], "expected no -o and no --format with --wandb"),
        (["a/p", "--format", "html"], "expected no -o and no --format with --wandb"),
        (["a/p", "a/q"], "expected runs of a single project with --wandb"),
    ],
)
def test_what_a_page_of_w_and_b_cannot_show_is_refused_at_once(arguments, said, assert_known_failure):
    assert_known_failure(["report", "--wandb", *arguments], said)


def test_a_title_names_the_runs_in_any_order_or_counts_them_where_they_are_many():
    assert _names(["b", "a"]) == "a, b"
    many = [f"run-{number}" for number in range(50)]
    assert _names(many) == _names(many[::-1])
    assert _names(many).startswith("50 runs, ")
    assert _names(many) != _names(many[1:] + ["other"])
