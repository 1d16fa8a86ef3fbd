"""Findings that bring their own words are sentences like the others."""

from flopwatch.report.finding import Finding, StepLoss
from flopwatch.report.render.efficiency import finding_words


def test_evidence_gain_and_what_to_change_are_one_sentence():
    found = Finding("launch_bound", 0.2, 0.1, 0.05, evidence="the device waits for the host", change="CUDA graphs")
    assert finding_words(found) == (
        "The device waits for the host, worth up to 10.0 points of MFU and 5.0 points of run MFU: CUDA graphs."
    )


def test_without_mfu_there_is_no_gain_to_tell():
    found = Finding("copies", 0.2, None, None, evidence="copies hide behind nothing", change="pin memory")
    assert finding_words(found) == "Copies hide behind nothing: pin memory."


def test_a_loss_of_a_step_says_all_that_a_sentence_needs():
    loss = StepLoss("copies", 0.2, "evidence", "change")
    assert (loss.kind, loss.share, loss.evidence, loss.change) == ("copies", 0.2, "evidence", "change")
