"""The words of what was found, each a sentence that can be read by itself."""

from dataclasses import replace

import pytest

from flopwatch.report.anomalies import Anomalies, CauseShare, Dip, Drift, SlowRank
from flopwatch.report.findings import Finding
from flopwatch.report.published_mfu import Known
from flopwatch.report.render.efficiency import finding_words, known_words, part_words, unusual_lines
from flopwatch.run.time_kinds import TIME_KINDS
from tests.report.render.test_facts import healthy

DIP = Dip(1090.0, 60.0, 101, 200, 0.25, 10**15, None)


@pytest.mark.parametrize(
    ("finding", "words"),
    [
        (
            Finding("validation", 0.114, None, 0.031),
            "Validation takes 11.4% of wall time, worth 3.1 points of run MFU: validate less often, or on fewer"
            " batches.",
        ),
        (
            Finding("recomputed", 0.25, 0.1, 0.01),
            "Recomputation is 25.0% of hardware FLOPs, worth up to 10.0 points of MFU and 1.0 point of run MFU: if"
            " memory allows, checkpoint fewer layers.",
        ),
        (
            Finding("padding", 0.1, None, None),
            "Padding takes 10.0% of model FLOPs: pack sequences, or batch them by length.",
        ),
        (
            Finding("validation", 0.114, -0.0001, 0.0004),
            "Validation takes 11.4% of wall time: validate less often, or on fewer batches.",
        ),
        (
            Finding("slow rank", 0.16, None, None, "3"),
            "Rank 3 is usually the slowest and costs 16.0% of step time: check that node and its data.",
        ),
        (
            Finding("dips", 0.05, None, None, "2"),
            "2 dips without a known cause cost 5.0% of training-loop time: check what else used the node,"
            " its storage and its network at those times.",
        ),
    ],
)
def test_a_finding_is_evidence_worth_and_advice(finding, words):
    assert finding_words(finding) == words


def test_every_kind_with_advice_makes_a_sentence():
    for kind in (name for name, each in TIME_KINDS.items() if each.advice):
        words = finding_words(Finding(kind, 0.5, None, None))
        assert words[0].isupper() or words[0].isdigit()
        assert "50.0%" in words
        assert words.endswith(".")
        assert "{" not in words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "cause unknown."),
        ({"cause": "data"}, "waiting for data."),
        ({"cause": "clock", "detail": "power_cap"}, "the clock was lower (power cap)."),
        ({"cause": "clock"}, "the clock was lower."),
        ({"cause": "slow rank", "detail": "3"}, "rank 3 was slow."),
        ({"cause": "pause", "detail": "validation"}, "it includes a validation."),
        # One cause that explains all of it needs no share; rounding does not count.
        ({"cause": "data", "causes": (CauseShare("data", 0.96),)}, "waiting for data."),
        (
            {"cause": "data", "causes": (CauseShare("data", 0.5), CauseShare("slow rank", 0.48, "3"))},
            "50% from waiting for data, 48% from slow rank 3.",
        ),
    ],
)
def test_a_dip_says_when_how_much_and_why(changes, words):
    (line,) = unusual_lines(healthy(anomalies=Anomalies((replace(DIP, **changes),))))
    start = "Steps 101 to 200, 1m 30s after the start, were 25.0% slower than the best stretch for 1m 00s"
    assert line == f"{start}, losing 1 PFLOPs; {words}"


def test_a_dip_of_one_step_whose_flops_are_not_known():
    one = replace(DIP, first_step=200, lost_flops=None)
    (line,) = unusual_lines(healthy(anomalies=Anomalies((one,))))
    assert line.startswith("Step 200, 1m 30s after the start")
    assert "losing" not in line


def test_drifts_and_slow_ranks_have_a_sentence_each():
    unusual = Anomalies((), (Drift(10, 1000, 1.04, 0.96), Drift(1, 9, 0.9, 1.1)), SlowRank(5, 1.2, 0.8))
    assert unusual_lines(healthy(anomalies=unusual)) == [
        "Steps 10 to 1,000 got slower: from 104% of the median pace in the first fifth to 96% in the last.",
        "Steps 1 to 9 got faster: from 90% of the median pace in the first fifth to 110% in the last.",
        "Rank 5 was the slowest in 80.0% of windows; steps took 20.0% longer in those.",
    ]


def test_a_part_has_words_and_a_word_for_a_chart():
    assert part_words("recomputed") == "recomputation (activation checkpointing)"
    assert part_words("recomputed", short=True) == "recomputation"
    assert part_words("of a newer version") == "of a newer version"


def test_what_others_reached_has_its_sources():
    known = Known(0.384, 0.49, 3, 7 * 10**9, 13 * 10**9, ("a README", "a paper"), ("6N + 12LdS",))
    assert known_words(known) == (
        "3 published runs of 7B to 13B parameters on this chip reached 38.4% to 49%, as counted by their authors"
        " (6N + 12LdS): a README; a paper."
    )
    assert known_words(None) is None
