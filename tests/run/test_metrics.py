import pytest

from flopwatch.run.metrics import capacity_flops, doubt, mfu_at_clock, tensor_mfu
from flopwatch.run.records import Device
from tests import samples


@pytest.mark.parametrize(("samples_taken", "known"), [(2, False), (3, True)])
def test_mfu_at_clock_needs_three_samples(samples_taken, known):
    window = samples.window(10, 1010.0, clock_samples=samples_taken)
    assert (mfu_at_clock(window, samples.H100) is not None) == known
    assert (tensor_mfu(window, samples.H100) is not None) == known


def test_what_tensor_activity_would_be_as_mfu():
    # 55% of cycles x 500,000 FLOPs a clock x 1.6 GHz = 4.4e14 FLOP/s of 1e15.
    assert tensor_mfu(samples.window(10, 1010.0), samples.H100) == pytest.approx(0.44)
    assert tensor_mfu(samples.window(10, 1010.0, tensor_active=None), samples.H100) is None


def test_capacity_is_peak_times_devices_times_all_wall_time():
    # 5e15 before, then 10 s of 2 devices of 1e15.
    assert capacity_flops(5e15, 10.0, samples.H100) == 25e15
    assert capacity_flops(None, 10.0, samples.H100) is None
    assert capacity_flops(0.0, 10.0, Device("CPU", 1)) is None
    assert capacity_flops(5e15, -3.0, samples.H100) == 5e15, "a clock that was set back takes nothing away"


def test_doubt_is_for_mfu_above_one_alone():
    assert doubt(None, samples.H100) is None
    assert doubt(1.0, samples.H100) is None
    assert "check the peak (datasheet: a sheet)" in doubt(1.01, samples.H100)
