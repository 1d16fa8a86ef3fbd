"""What each loss would give back, by hand."""

from dataclasses import replace

import pytest

from flopwatch.report.anomalies import Anomalies, CauseShare, Dip, SlowRank
from flopwatch.report.finding import Finding, StepLoss
from flopwatch.report.findings import MOST, Evidence, findings
from flopwatch.report.render.efficiency import finding_words
from flopwatch.report.waterfall import Part

SECONDS = {"setup": 10.0, "training": 700.0, "data_wait": 80.0, "validation": 100.0, "checkpoint": 110.0}


NOTHING = Evidence(SECONDS, 1000.0, None, (), Anomalies(), 0.4, 0.3, 800.0)


def test_what_time_would_give_back_by_hand():
    found = findings(NOTHING)
    # 110 of 1,000 s: without them the same work takes 890 s, 0.3 / 0.89 = 0.33708.
    assert found[0] == Finding("checkpoint", 0.11, None, pytest.approx(0.3 / 0.89 - 0.3), of_run=0.11)
    assert [each.kind for each in found] == ["checkpoint", "validation"]


def test_waiting_for_data_is_worth_points_of_both():
    (data, *_) = findings(replace(NOTHING, data_wait_fraction=0.2, seconds={"training": 800.0}, wall_seconds=810.0))
    # A fifth of the loop: 0.4 / 0.8 = 0.5. Of 810 s it is 160 s: 0.3 x 810 / 650.
    assert data == Finding("data_wait", 0.2, pytest.approx(0.1), pytest.approx(0.3 * 810 / 650 - 0.3))
    assert finding_words(data) == (
        "Waiting for data takes 20.0% of the training loop, worth 10.0 points of MFU and 7.4 points of run MFU: add"
        " data loader workers, prefetch more, or make transforms cheaper."
    )


def test_inside_training_clock_recomputation_and_padding_are_found():
    parts = [
        Part(kind, flops, 1.0, None)
        for kind, flops in (("clock", 10), ("recomputed", 20), ("rest", 110), ("padding", 6), ("useful", 54))
    ]
    found = {each.kind: each for each in findings(replace(NOTHING, parts=parts, seconds={"training": 800.0}))}
    assert (found["clock"].share, found["clock"].of_run) == (10 / 200, 10 / 200)
    assert (found["recomputed"].share, found["recomputed"].of_run) == (20 / 80, 20 / 200)
    # Training steps are all of the loop and of the run: a twentieth by the clock, a quarter of the time recomputing.
    assert found["clock"].mfu_gain == pytest.approx(0.4 / (1 - 10 / 200) - 0.4)
    assert found["recomputed"].run_mfu_gain == pytest.approx(0.3 / (1 - 20 / 80) - 0.3)
    # Less padding makes more of the FLOPs useful, not the MFU higher.
    assert found["padding"] == Finding("padding", 0.1, None, None, of_run=0.03)


def test_what_is_little_of_the_run_is_no_finding_however_much_it_is_of_a_part_of_it():
    # A tenth of the model FLOPs is padding, and 6 of 1,000 of what could have been done.
    parts = [Part(kind, flops, 1.0, None) for kind, flops in (("setup", 940), ("padding", 6), ("useful", 54))]
    assert "padding" not in {each.kind for each in findings(replace(NOTHING, parts=parts))}


def test_on_other_devices_a_second_is_worth_what_they_could_have_done():
    """Validation took a tenth of the time on eight times the devices: 8 of 17 of what could have been done."""
    parts = [Part("validation", 800, 8.0, None), Part("useful", 900, 9.0, None)]
    evidence = replace(NOTHING, parts=parts, seconds={"validation": 10.0, "training": 90.0}, wall_seconds=100.0)
    (found,) = findings(evidence)
    assert (found.share, found.run_mfu_gain) == (0.1, pytest.approx(0.3 / (1 - 8 / 17) - 0.3))


def test_an_mfu_above_one_has_no_findings():
    assert findings(replace(NOTHING, mfu=1.2)) == ()


def test_without_an_mfu_shares_decide_and_no_gain_is_claimed():
    found = findings(replace(NOTHING, mfu=None, run_mfu=None, data_wait_fraction=0.5))
    assert [(each.kind, each.mfu_gain, each.run_mfu_gain) for each in found] == [
        ("data_wait", None, None),
        ("checkpoint", None, None),
        ("validation", None, None),
    ]
    assert finding_words(found[1]) == "Saving checkpoints takes 11.0% of wall time: save less often, or asynchronously."


def test_there_are_five_at_most_and_none_where_there_is_nothing_to_say():
    kinds = ("setup", "validation", "checkpoint", "callbacks", "other", "lost", "interruption")
    assert len(findings(replace(NOTHING, seconds=dict.fromkeys(kinds, 100.0)))) == MOST
    assert findings(replace(NOTHING, seconds={"training": 990.0, "validation": 10.0})) == ()


DIP = Dip(0.0, 100.0, 1, 10, 0.4, None, None)


def test_a_dip_and_a_slow_rank_are_findings_too():
    unusual = Anomalies((DIP, replace(DIP, cause="data")), (), SlowRank(3, 1.25, 0.8))
    found = {each.kind: each for each in findings(replace(NOTHING, anomalies=unusual))}
    # One of the dips is explained by data. 40 of 800 s; in 80% of the windows a fifth of a step of 1.25 is too much.
    assert (found["dips"].share, found["dips"].detail) == (0.05, "1")
    assert (found["slow rank"].share, found["slow rank"].detail) == (pytest.approx(0.16), "3")
    assert finding_words(found["dips"]).startswith("A dip without a known cause costs 5.0% of training-loop time")


def test_a_loss_below_two_hundredths_is_not_worth_a_sentence():
    for seconds, kinds in ((19.0, []), (20.0, ["validation"])):
        found = findings(replace(NOTHING, seconds={"training": 1000.0 - seconds, "validation": seconds}))
        assert [each.kind for each in found] == kinds


def test_what_a_dip_is_not_explained_by_is_what_it_costs():
    half = replace(DIP, causes=(CauseShare("data", 0.45), CauseShare("clock", 0.05)))
    found = {each.kind: each for each in findings(replace(NOTHING, anomalies=Anomalies((half,), (), None)))}
    # 0.4 x 100 s, of which a half is explained: 20 of 800 s.
    assert found["dips"].share == pytest.approx(0.025)


def test_of_a_run_without_wall_time_nothing_is_said():
    nothing = replace(NOTHING, seconds={}, wall_seconds=0.0, loop_seconds=0.0, data_wait_fraction=0.0)
    assert findings(nothing) == ()


def test_a_run_that_did_nothing_but_wait_gains_no_number():
    (data,) = findings(replace(NOTHING, seconds={}, wall_seconds=800.0, data_wait_fraction=1.0))
    assert (data.share, data.mfu_gain, data.run_mfu_gain) == (1.0, None, None)


def parts(**flops):
    return [Part(kind, amount, 1.0, None) for kind, amount in flops.items()]


def test_the_largest_loss_comes_first_though_nobody_knows_what_it_gives_back():
    # Of 200 FLOPs 110 are lost to nobody knows what; 60 are useful, 30 went into waiting for data.
    whole = replace(NOTHING, parts=parts(rest=110, useful=60, data_wait=30), data_wait_fraction=0.15, seconds={})
    found = findings(whole)
    assert [each.kind for each in found] == ["rest", "data_wait"]
    assert found[0] == Finding("rest", 0.55, None, None, of_run=0.55)
    assert "FlopWatch(profile=True)" in finding_words(found[0])
    smaller = replace(NOTHING, parts=parts(rest=10, useful=60, data_wait=130), data_wait_fraction=0.65, seconds={})
    assert [each.kind for each in findings(smaller)] == ["data_wait", "rest"]


def test_what_a_profile_shows_has_its_evidence_and_its_gain():
    loss = StepLoss("launch_bound", 0.2, "the device waits", "CUDA graphs")
    (found,) = findings(replace(NOTHING, seconds={"training": 1000.0}, parts=parts(training=100), step_losses=(loss,)))
    # A fifth of the loop, which is all of the run: 0.4 / 0.8 and 0.3 / 0.8.
    assert (found.mfu_gain, found.run_mfu_gain) == pytest.approx((0.1, 0.075))
    assert finding_words(found).startswith("The device waits, worth up to 10.0 points of MFU")


def test_gains_that_are_held_against_another_peak_or_pass_it_are_not_known():
    def gains(kind, share):
        loss = StepLoss(kind, share, "products in fp32", "bf16")
        parts_of = parts(training=100)
        (found,) = findings(replace(NOTHING, seconds={"training": 1.0}, parts=parts_of, step_losses=(loss,)))
        return found.share, found.mfu_gain, found.run_mfu_gain

    assert gains("slow_precision", 0.2) == (0.2, None, None)
    # Without 65% of the time an MFU of 40% would be 114%, and a run MFU of 30% is 86%.
    assert gains("launch_bound", 0.65) == (0.65, None, pytest.approx(0.3 / 0.35 - 0.3))


def test_recomputation_is_told_of_once():
    loss = StepLoss("recomputation", 0.2, "activation checkpointing recomputes", "checkpoint fewer layers")
    inside = parts(useful=60, recomputed=20, rest=20)
    kinds = [each.kind for each in findings(replace(NOTHING, parts=inside, seconds={}, step_losses=(loss,)))]
    assert kinds.count("recomputed") == 1
    assert "recomputation" not in kinds


def test_parts_by_a_profile_have_words_where_its_advice_has_none():
    inside = parts(useful=20, matmul_below_peak=50, other_compute=30)
    elementwise = StepLoss("unfused_elementwise", 0.3, "kernels do one operator each", "torch.compile")
    found = findings(replace(NOTHING, parts=inside, seconds={}, step_losses=(elementwise,)))
    assert [each.kind for each in found] == ["matmul_below_peak", "unfused_elementwise"]
    assert finding_words(found[0]).startswith("Matrix products lose 50.0% of what the devices could have done")
