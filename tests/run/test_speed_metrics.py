"""What a run is doing: rows whose values come from a window alone."""

from flopwatch.run.moment import Moment
from flopwatch.run.records import Totals
from flopwatch.run.speed_metrics import SPEED
from tests import samples


def test_they_are_speed_steps_and_loss():
    assert {each.key.split("/")[0] for each in SPEED} == {"perf", "step", "loss"}


def test_a_window_without_a_look_inside_has_no_phases_and_no_loss():
    at = Moment(samples.window(10, 1010.0), samples.H100, Totals())
    unknown = {each.key for each in SPEED if each.value(at) is None}
    inside = {"transfer_frac", "forward_frac", "backward_frac", "optimizer_frac", "forward_mfu", "backward_mfu"}
    assert unknown == {f"step/{name}" for name in inside} | {
        *("loss/train", "loss/validation", "perf/run_mfu", "perf/goodput")
    }
