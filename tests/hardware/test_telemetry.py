"""Readings are lists of numbers here, so every share, mean and joule can be added up by hand."""

import pytest

from flopwatch.hardware.telemetry import REASONS, Reading, Tally, Telemetry, over_devices

CAP = frozenset({"power_cap"})
HOT = frozenset({"hardware_thermal"})
NONE = frozenset()


def taken(*readings, boost_clock_hz=None):
    tally = Tally(boost_clock_hz)
    for reading in readings:
        tally.add(reading)
    return tally.take()


def test_nothing_read_is_nothing_known():
    assert taken() == Telemetry()


def test_the_clock_is_the_mean_of_the_readings_in_which_the_gpu_was_not_idle():
    clocks = [(1980e6, False), (1500e6, False), (210e6, True)]
    result = taken(*(Reading(at, clock, NONE, idle) for at, (clock, idle) in enumerate(clocks)))
    assert (result.clock_samples, result.sm_clock_hz, result.sm_clock_hz_min) == (2, 1740e6, 1500e6)


def test_clocks_and_tensor_cores_count_in_the_training_loop_alone():
    loop = Reading(0, 1500e6, NONE, tensor_active=0.5)
    validation = Reading(1, 1980e6, NONE, tensor_active=0.9, in_loop=False)
    # From loop to validation and back nothing tells which of both the tensor cores worked for; 2 to 3 is the loop's.
    back, later = Reading(2, 1500e6, NONE, tensor_active=0.9), Reading(3, 1500e6, NONE, tensor_active=0.4)
    result = taken(loop, validation, back, later)
    assert (result.clock_samples, result.sm_clock_hz, result.tensor_active) == (3, 1500e6, 0.4)


@pytest.mark.parametrize(("utilization", "samples"), [(0.9, 1), (0.1, 0), (None, 0)])
def test_where_the_driver_does_not_say_that_it_idles_utilization_must_say_that_it_works(utilization, samples):
    assert taken(Reading(0, 210e6, None, utilization=utilization)).clock_samples == samples


def test_another_precisions_clock_starts_the_watch_for_low_clocks_anew():
    tally = Tally(1980e6)
    readings = [Reading(at, 1830e6, NONE, utilization=1.0) for at in range(8)]
    for reading in readings[:4]:
        tally.add(reading)
    tally.set_boost_clock(1830e6)
    for reading in readings[4:]:
        tally.add(reading)
    assert tally.take().slow_clock_frac == 0.0


def test_shares_are_those_of_the_samples_where_there_are_no_counters():
    reasons = [CAP, CAP | HOT, HOT, NONE]
    result = taken(*(Reading(at, reasons=each) for at, each in enumerate(reasons)))
    assert result.throttled == {**dict.fromkeys(REASONS, 0.0), "power_cap": 0.5, "hardware_thermal": 0.5}
    # Three of four samples had a reason.
    assert (result.throttled_frac, result.throttle_counted) == (0.75, False)


def test_two_samples_are_too_few_for_a_share():
    result = taken(Reading(0, reasons=CAP), Reading(1, reasons=CAP))
    assert (result.throttled, result.throttled_frac) == (None, None)


def counted(*seconds, reasons=NONE, **more):
    return [
        Reading(at, reasons=reasons, reason_seconds={"power_cap": 100 + each, "sync_boost": 7}, **more)
        for at, each in enumerate(seconds)
    ]


def test_counters_say_the_share_to_the_nanosecond():
    # 0.25 s of 4 s, between the first reading and the last.
    result = taken(*counted(0, 0.1, 0.1, 0.1, 0.25))
    assert result.throttled["power_cap"] == pytest.approx(0.0625)
    assert result.throttled_frac == pytest.approx(0.0625)
    assert result.throttle_counted


def test_counters_go_on_from_the_last_stretch():
    tally = Tally()
    first, *rest = counted(0, 0.5, 1.5, 2.25)
    tally.add(first)
    assert tally.take().throttled is None
    for reading in rest:
        tally.add(reading)
    assert tally.take().throttled_frac == pytest.approx(0.75)


def test_reasons_that_were_neither_counted_nor_sampled_are_not_called_zero():
    # This driver counts two reasons, and two samples are too few for the others.
    assert taken(*counted(0, 0.5)).throttled is None


def test_a_stretch_too_short_for_the_counters_pace_is_told_by_samples():
    # The driver books two seconds at once: 2 s in a stretch of 1 s are no share, and no reason to doubt it for good.
    tally = Tally()
    for reading in (*counted(0, 2.0, reasons=CAP), Reading(1.2, reasons=NONE)):
        tally.add(reading)
    assert (tally.take().throttled["power_cap"], tally.distrust) == (pytest.approx(2 / 3), None)


def test_reasons_that_overlap_are_not_added_twice():
    def both(at, cap, hot, reasons):
        return Reading(at, reasons=reasons, reason_seconds={"power_cap": cap, "hardware_thermal": hot})

    # Half of the time each: together at least a half and at most all of it; in the samples, three of four.
    apart = [both(0, 0, 0, CAP), both(1, 1, 0, CAP | HOT), both(2, 1, 1, HOT), both(4, 2, 2, NONE)]
    assert taken(*apart).throttled_frac == pytest.approx(0.75)
    # Never at once: the samples say all of the time, the counters four fifths at most.
    sampled = [both(0, 0, 0, CAP), both(2, 1, 1, HOT), both(5, 2, 2, CAP)]
    assert taken(*sampled).throttled_frac == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("readings", "doubt"),
    [
        # Counted in microseconds as if they were nanoseconds the other way round: 1000 seconds a second.
        (counted(0, 1000, 2000, 3000, reasons=CAP), "counted 1e+03 seconds per second"),
        # Stands still while every sample says that power is capped.
        (counted(0, 0.001, 0.002, 0.003, reasons=CAP), "stands still"),
    ],
)
def test_counters_that_contradict_the_samples_are_not_believed(readings, doubt):
    tally = Tally()
    for reading in readings:
        tally.add(reading)
    result = tally.take()
    assert (result.throttled_frac, result.throttle_counted) == (1.0, False)
    assert doubt in tally.distrust


@pytest.mark.parametrize(
    ("clock", "more", "expected"),
    [
        (1500e6, {}, 1.0),
        (1830e6, {}, 0.0),
        # A step of 15 MHz below is within the driver's rounding.
        (1815e6, {}, 0.0),
        # Idle, not busy, held down for a named reason, or at a clock that the user set: nothing is unexplained.
        (1500e6, {"idle": True, "explained": True}, None),
        (1500e6, {"utilization": 0.2}, None),
        (1500e6, {"utilization": None}, None),
        (1500e6, {"reasons": CAP, "explained": True}, 0.0),
        (1500e6, {"explained": True}, 0.0),
    ],
)
def test_a_low_clock_while_busy_is_noticed_where_the_driver_gives_no_reason(clock, more, expected):
    values = {"reasons": NONE, "utilization": 1.0, **more}
    readings = [Reading(at, clock, **values) for at in range(4)]
    assert taken(*readings, boost_clock_hz=1830e6).slow_clock_frac == expected


def test_energy_is_what_the_counter_moved_and_power_its_rate():
    tally = Tally()
    for at, joules in ((10, 5000.0), (11, 5700.5), (12, 6400.25)):
        tally.add(Reading(at, joules=joules))
    # 1,400.25 J in 2 s; the quarter is kept for the next time.
    assert tally.take_joules() == 1400
    assert tally.take().power_watts == pytest.approx(700.125)
    tally.add(Reading(13, joules=6401.0))
    assert tally.take_joules() == 1


def test_a_reading_that_is_missed_loses_no_energy():
    tally = Tally()
    for at, joules in ((0, 0.0), (1, None), (2, None), (3, 2100.0)):
        tally.add(Reading(at, joules=joules))
    assert tally.take_joules() == 2100


def test_a_counter_of_32_bits_may_start_again():
    # 2**32 mJ are 4,294,967.296 J: from 100 J before the end to 600 J after it are 700 J.
    tally = Tally()
    tally.add(Reading(0, joules=4_294_867.296))
    tally.add(Reading(1, joules=600.0))
    assert tally.take_joules() == 700


def test_a_counter_that_goes_backwards_loses_the_energy_for_good():
    tally = Tally()
    for at, joules in ((0, 5000.0), (1, 4000.0), (2, 4700.0)):
        tally.add(Reading(at, joules=joules))
    assert tally.take_joules() is None
    assert "went backwards" in tally.energy_lost


def test_without_a_counter_power_is_integrated():
    # Trapezoids: (100 + 300) / 2 * 1 s + (300 + 300) / 2 * 2 s = 800 J.
    tally = Tally()
    for at, watts in ((0, 100.0), (1, 300.0), (3, 300.0)):
        tally.add(Reading(at, power_watts=watts))
    assert tally.take_joules() == 800
    tally.add(Reading(30, power_watts=300.0))
    assert tally.take_joules() is None


def test_tensor_activity_is_weighted_by_time():
    # Each value is since the reading before: (0.6 * 1 s + 0.3 * 3 s) / 4 s.
    result = taken(
        Reading(0), Reading(1, tensor_active=0.9), Reading(2, tensor_active=0.6), Reading(5, tensor_active=0.3)
    )
    assert result.tensor_active == pytest.approx(0.375)


def share(**shares):
    return {**dict.fromkeys(REASONS, 0.0), **shares}


def test_devices_are_averaged_and_their_power_is_added():
    one = Telemetry(5, 1980e6, 1900e6, share(power_cap=0.5), 0.5, True, 0.0, 700.0, 0.4)
    two = Telemetry(9, 1500e6, 1200e6, share(power_cap=1.0), 1.0, True, 0.2, 500.0, 0.6)
    both = over_devices([one, two], [700.0, 500.0])
    assert both == Telemetry(5, 1740e6, 1200e6, share(power_cap=0.75), 0.75, True, 0.1, 1200.0, 0.5)


def test_what_one_device_does_not_know_the_run_does_not_know():
    known = Telemetry(5, 1980e6, 1900e6, share(power_cap=0.5), 0.5, True, 0.0, 700.0, 0.4)
    assert over_devices([known, Telemetry()], [700.0, None]) == Telemetry()


def test_the_power_of_a_gpu_that_two_ranks_share_is_given_once():
    one = Telemetry(power_watts=700.0)
    assert over_devices([one, one], [700.0]).power_watts == 700.0


def test_more_energy_than_a_gpu_draws_is_not_known():
    # 2,100 W at most are 4,200 J in a second and the second that the counter may lag; 1e9 J are none.
    tally = Tally()
    tally.most_watts = 2100.0
    for at, joules in ((0, 5000.0), (1, 5700.0), (2, 9900.0)):
        tally.add(Reading(at, joules=joules))
    assert tally.take_joules() == 4900
    tally.add(Reading(3, joules=1e9))
    assert tally.take_joules() is None
    assert tally.energy_lost == "the energy counter went backwards, or rose by more than the GPU can draw"


def test_a_counter_that_stands_still_while_the_gpu_works_is_none():
    tally = Tally()
    for at in range(5):
        tally.add(Reading(at, sm_clock_hz=1e9, reasons=frozenset(), utilization=1.0))
        tally.add(Reading(at, joules=5000.0))
    # Nothing is booked as drawn meanwhile, not even zero.
    assert tally.take().power_watts is None
    assert (tally.energy_lost, tally.energy_stands_still) == (None, True)
    tally.add(Reading(5, joules=5000.0))
    assert tally.energy_lost == "the energy counter stands still while the GPU works"
    assert tally.take_joules() is None


def test_a_counter_that_creeps_while_the_gpu_works_is_none():
    # 1 mJ a second, as of a counter in joules that is taken for millijoules: no GPU at work draws less than a watt.
    tally = Tally()
    for at in range(6):
        tally.add(Reading(at, sm_clock_hz=1e9, reasons=frozenset(), utilization=1.0))
        tally.add(Reading(at, joules=5000 + at / 1000))
    assert tally.take().power_watts is None
    assert tally.energy_lost == "the energy counter stands still while the GPU works"
    assert tally.take_joules() is None


def test_a_counter_that_moves_by_steps_or_of_a_gpu_at_rest_is_one():
    tally = Tally()
    for at, joules in ((0, 5000.0), (1, 5000.0), (2, 6400.0)):
        tally.add(Reading(at, sm_clock_hz=1e9, reasons=frozenset(), utilization=1.0))
        tally.add(Reading(at, joules=joules))
    assert tally.take().power_watts == 700
    at_rest = Tally()
    for at in range(20):
        at_rest.add(Reading(at, sm_clock_hz=2e8, reasons=frozenset(), idle=True, utilization=0.0))
        at_rest.add(Reading(at, joules=5000.0))
    assert at_rest.energy_lost is None
