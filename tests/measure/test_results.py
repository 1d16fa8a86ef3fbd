import pytest
from torch import nn

from flopwatch.measure.results import Measurement, Uncounted
from flopwatch.model.architecture import ComponentRow

FREE, WITH_WEIGHTS, HEAVY = Uncounted("a.free", 3), Uncounted("a.mix", 1, ("w",)), Uncounted("a.qr", 2, heavy=True)


def test_training_is_forward_and_backward_and_the_hardware_also_recomputes():
    measured = Measurement(100, 200, 50, "full")
    assert (measured.training_flops, measured.hardware_flops, measured.complete) == (300, 350, True)


def test_what_is_light_and_takes_no_weights_withholds_nothing():
    measured = Measurement(100, 200, 50, "full", uncounted=(FREE,))
    assert (measured.missing, measured.training_flops, measured.hardware_flops) == ((), 300, 350)


@pytest.mark.parametrize(
    "changes", [{"uncounted": (FREE, WITH_WEIGHTS)}, {"uncounted": (FREE, HEAVY)}, {"unseen": ("net.weight",)}]
)
def test_a_part_that_is_missing_withholds_the_totals_and_not_what_was_counted(changes):
    measured = Measurement(100, 200, 50, "full", **changes)
    assert (measured.training_flops, measured.hardware_flops, measured.complete) == (None, None, False)
    assert measured.forward_flops == 100


def test_those_that_are_missing_are_named_and_no_others():
    measured = Measurement(0, 0, 0, "full", uncounted=(FREE, WITH_WEIGHTS, HEAVY))
    assert measured.missing == (WITH_WEIGHTS, HEAVY)


def test_the_table_is_two_levels_deep_and_adds_up():
    net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 5))))
    by_module = {"0": 10, "1.0": 20, "1.1.0": 30, "1.1": 4, "": 5}
    rows = Measurement(69, 0, 0, "full", by_module=by_module).rows(net)
    # Weights and biases: 6 + 3, 12 + 4, 20 + 5. What ran in no child has the module's own name.
    assert rows == (
        ComponentRow("0", 9, 10),
        ComponentRow("1.0", 16, 20),
        ComponentRow("1.1", 25, 34),
        ComponentRow("Sequential", 0, 5),
    )


def test_a_compiled_module_has_the_name_that_it_had():
    net = nn.Sequential(nn.Linear(2, 3))
    rows = Measurement(7, 0, 0, "full", by_module={"_orig_mod.0": 7}).rows(net)
    assert rows == (ComponentRow("0", 9, 7),)
