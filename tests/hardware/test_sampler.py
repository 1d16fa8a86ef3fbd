"""The sampling thread over the fake driver, twenty milliseconds apart instead of a second."""

import json
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent / "scripts"

pytestmark = pytest.mark.slow

TWICE = "stretch(0.4); {}; stretch(0.4)"


@pytest.fixture
def sample(python, fake_driver):
    def run(then, state=None, driver=fake_driver, **options):
        driver.set(**{"uuid": "GPU-cafe", **(state or {})})
        environment = driver.environment()
        result = python(SCRIPTS / "sample.py", json.dumps({"then": then, **options}), environment=environment)
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""
        return json.loads(result.stdout)

    return run


def test_it_sees_a_clock_drop_its_reason_and_the_energy(sample):
    then = TWICE.format("state(sm_clock=1500, reasons=4, power_mw=350000)")
    (before, after), took, threads, troubles, _, _ = sample(then, {"power_mw": 700_000})
    assert (before["sm_clock_hz"], before["throttled_frac"], before["slow_clock_frac"]) == (1980e6, 0.0, 0.0)
    assert before["power_watts"] == pytest.approx(700, rel=0.02)
    assert before["tensor_active"] == pytest.approx(0.4)
    assert after["sm_clock_hz_min"] == 1500e6
    assert after["throttled"]["power_cap"] > 0.9
    assert after["throttle_counted"]
    assert after["power_watts"] == pytest.approx(350, rel=0.1)
    # 350 W over 0.4 s.
    assert after["joules"] == pytest.approx(140, rel=0.2)
    assert before["hardware"]["driver"] == "580.95.05"
    assert before["hardware"]["energy_source"] == "the driver's counter"
    assert set(before["hardware"]["readable"].values()) == {"yes"}
    assert (troubles, threads) == ([], 1)
    assert took < 1


def test_the_driver_is_never_asked_from_the_calling_thread(sample, fake_driver):
    *_, caller = sample("stretch(0.3)")
    threads = {int(thread) for thread, _ in fake_driver.calls()}
    assert len(threads) == 1
    assert threads != {caller}
    assert fake_driver.calls()[0][1] == "nvmlInit"


def test_a_low_clock_without_a_reason_is_noticed(sample):
    (only,), *_ = sample("stretch(0.4)", {"sm_clock": 1500})
    assert (only["throttled_frac"], only["slow_clock_frac"]) == (0.0, 1.0)


def test_idle_is_not_throttling(sample):
    # Idle, and the power cap's bit with it, as drivers show between two loads.
    (only,), *_ = sample("stretch(0.4)", {"reasons": 0x5, "counters": 0, "sm_clock": 210})
    assert (only["throttled_frac"], only["clock_samples"], only["sm_clock_hz"]) == (0.0, 0, None)


def test_an_old_driver_gives_shares_by_samples_and_the_integral_of_power(sample, old_driver):
    (only,), *_ = sample("stretch(0.6)", {"reasons": 4, "power_mw": 300_000}, driver=old_driver)
    assert (only["throttled_frac"], only["throttle_counted"]) == (1.0, False)
    assert only["hardware"]["energy_source"] == "integral of power readings"
    assert only["power_watts"] == pytest.approx(300)
    assert only["joules"] == pytest.approx(180, rel=0.2)
    assert only["hardware"]["readable"]["tensor activity"] == "Function Not Found"
    assert only["troubles"] == []


def test_a_lost_gpu_ends_sampling_with_one_message(sample):
    then = TWICE.format("state(error__nvmlDeviceGetClockInfo=15)") + "; stretch(0.1)"
    (before, after, last), took, threads, _, joules, _ = sample(then)
    assert before["clock_samples"] >= 3
    assert before["joules"] > 0
    assert after["clock_samples"] <= 1
    assert after["troubles"] == ["GPU readings ended: the NVIDIA driver stopped responding: GPU is lost"]
    # What was drawn since nobody knows.
    assert (after["joules"], last["joules"], joules) == (None, None, None)
    assert (last["troubles"], threads) == ([], 1)
    assert took < 1


def test_a_driver_that_never_starts_is_one_message(sample):
    (only,), _, threads, *_ = sample("stretch(0.3)", {"error__nvmlInit": 9})
    assert only["troubles"] == ["GPU readings ended: the NVIDIA driver did not respond: Driver Not Loaded"]
    assert (only["joules"], only["hardware"], threads) == (None, None, 1)


def test_what_is_not_permitted_is_asked_once(sample, fake_driver):
    (only,), *_ = sample("stretch(0.4)", {"error__nvmlDeviceGetClockInfo": 4, "error__nvmlGpmSampleGet": 4})
    assert only["troubles"] == ["SM clock cannot be read: Insufficient Permissions"]
    assert only["hardware"]["readable"]["tensor activity"] == "Insufficient Permissions"
    assert (only["sm_clock_hz"], only["throttled_frac"]) == (None, 0.0)
    calls = [function for _, function in fake_driver.calls()]
    assert calls.count("nvmlDeviceGetClockInfo") == calls.count("nvmlGpmSampleGet") == 1
    assert calls.count("nvmlDeviceGetUtilizationRates") > 5


def test_errors_that_pass_are_left_alone_for_longer_and_longer(sample, fake_driver):
    then = "stretch(0.3); state(error__nvmlDeviceGetClockInfo=999); stretch(1.6); state(); stretch(1.6)"
    (before, failing, after), *_ = sample(then)
    assert before["clock_samples"] >= 3
    # After 2, 4, 8, 16 and 32 intervals of 20 ms: five failures in 1.24 s, then a message.
    assert failing["clock_samples"] <= 1
    assert failing["troubles"] == ["SM clock cannot be read at the moment: Unknown Error; retrying from time to time"]
    assert after["troubles"] == ["SM clock can be read again"]
    assert after["clock_samples"] >= 3


def test_not_supported_after_an_answer_is_asked_again(sample):
    # As power that is asked for too quickly is said not to be supported.
    then = "stretch(0.3); state(error__nvmlDeviceGetTotalEnergyConsumption=3); stretch(0.1); state(); stretch(0.4)"
    stretches, *_ = sample(then)
    assert all(each["joules"] is not None for each in stretches)
    assert sum(each["joules"] for each in stretches) == pytest.approx(700 * 0.8, rel=0.2)


def test_energy_that_fails_to_the_end_is_not_known(sample):
    then = "stretch(0.3); state(error__nvmlDeviceGetTotalEnergyConsumption=999); time.sleep(0.1)"
    (before,), _, _, _, joules, _ = sample(then)
    assert before["joules"] > 0
    assert joules is None


def test_energy_that_is_asked_for_rarely_is_read_at_the_end(sample):
    # After three calls of 20 ms the next is 20 s away; the last one is made all the same.
    (first,), _, _, _, joules, _ = sample("stretch(0.5)", {"delay_us__nvmlDeviceGetTotalEnergyConsumption": 20_000})
    assert first["joules"] + joules == pytest.approx(700 * 0.5, rel=0.2)
    assert joules > 100


def test_a_clock_that_hangs_and_comes_back_spoils_no_other_reading(sample):
    then = "stretch(0.3); state(reasons=4, hang__nvmlDeviceGetClockInfo=1); time.sleep(0.6); "
    then += "state(reasons=4); time.sleep(0.4); stretch(0.3)"
    (before, after), *_ = sample(then, {"reasons": 4})
    assert after["throttle_counted"]
    assert 0.9 < after["throttled_frac"] <= 1
    assert after["power_watts"] == pytest.approx(700, rel=0.05)
    assert before["joules"] + after["joules"] == pytest.approx(700 * 1.6, rel=0.2)


def test_slow_calls_stretch_their_own_interval_alone(sample):
    (first, second), *_ = sample("stretch(0.5); stretch(0.3)", {"delay_us__nvmlDeviceGetClockInfo": 20_000})
    # 20 ms a call are 20 s to the next one once three calls took so long: three samples, no fourth.
    assert (first["clock_samples"], second["clock_samples"]) == (3, 0)
    (message,) = first["troubles"]
    assert message.startswith("the driver takes 20 ms for one reading (SM clock), so flopwatch reads it only every 2")
    assert second["throttled_frac"] == 0.0


def test_a_hanging_call_is_told_once_and_does_not_hold_up_the_end(sample):
    then = TWICE.format("state(hang__nvmlDeviceGetClockInfo=1)") + "; stretch(0.3)"
    stretches, took, threads, final, joules, _ = sample(then, silence=0.2)
    told = [words for each in stretches for words in each["troubles"]]
    assert len(told) == 1
    assert "does not respond; no GPU readings since" in told[0]
    assert final == []
    assert joules is None
    assert took < 1.5
    assert threads == 2


def test_a_hang_that_is_not_yet_noticed_is_told_at_the_end(sample):
    _, _, _, final, joules, _ = sample("stretch(0.3); state(hang__nvmlDeviceGetClockInfo=1); time.sleep(0.1)")
    assert len(final) == 1
    assert joules is None


def test_a_slice_has_its_gpus_clock_and_no_energy(sample):
    state = {"uuid": "GPU-beef", "slices": 2, "slice_uuid__0": "MIG-cafe"}
    (only,), *_ = sample("stretch(0.4)", state)
    assert (only["sm_clock_hz"], only["joules"], only["power_watts"]) == (1980e6, None, None)
    assert only["hardware"]["is_slice"]
    assert "cannot be divided" in only["hardware"]["readable"]["energy counter"]
    assert only["tensor_active"] == pytest.approx(0.4)


@pytest.mark.parametrize("bits", [32, 64])
def test_a_counter_that_starts_again_loses_nothing(sample, bits):
    # 50 J before 2**32 mJ.
    state = {"energy_start_mj": 2**32 - 50_000, "energy_bits": bits}
    (only,), *_ = sample("stretch(0.4)", state)
    assert only["joules"] == pytest.approx(280, rel=0.2)


def test_counters_in_another_unit_are_not_believed(sample):
    # Nanoseconds divided by a million, with power capped all the time.
    (first, second), *_ = sample("stretch(0.4); stretch(0.2)", {"reasons": 4, "counter_divisor": 1_000_000})
    assert (first["throttled_frac"], first["throttle_counted"]) == (1.0, False)
    assert second["troubles"] == ["the driver's counter of power cap stands still while the driver reports it"]


def test_tensor_counters_without_a_number_are_no_number(sample):
    stretches, *_ = sample("stretch(0.3); state(); stretch(0.5)", {"tensor_nan": 1})
    assert stretches[0]["tensor_active"] is None
    assert stretches[1]["tensor_active"] == pytest.approx(0.4)


def test_a_slice_that_cannot_be_told_from_its_gpu_has_no_tensor_activity(sample):
    state = {"uuid": "GPU-whole", "slices": 1, "slice_uuid.0.0": "MIG-cafe", "error.nvmlDeviceGetGpuInstanceId": 3}
    stretches, *_ = sample("stretch(0.4)", state)
    assert stretches[0]["clock_samples"] > 3
    assert stretches[0]["tensor_active"] is None


def test_validation_is_not_the_training_loop(sample):
    then = (
        "loop = True; sampler._in_loop = lambda: loop; stretch(0.3); loop = False; state(sm_clock=1000); stretch(0.3)"
    )
    stretches, *_ = sample(then)
    assert stretches[0]["sm_clock_hz_min"] == 1980e6
    assert stretches[1]["sm_clock_hz_min"] in (None, 1980e6)


IMPOSSIBLE = [
    (
        "sm_clock=2**32 - 1",
        "sm_clock_hz",
        "SM clock is ignored: the driver reports 4294967295 MHz, but more than 1995 MHz",
    ),
    # The GPU's own maximum is 1,980 MHz, and clocks go by steps of 15.
    ("sm_clock=9000", "sm_clock_hz", "SM clock is ignored: the driver reports 9000 MHz, but more than 1995 MHz"),
    ("tensor_percent=250", "tensor_active", "tensor activity is ignored: the driver reports 250%, but more than 101%"),
    ("utilization=2**32 - 1", None, "utilization is ignored: the driver reports 4.29e+09%, but more than 100%"),
    ("reasons=2**64 - 1", "throttled_frac", "throttle reasons are ignored: the driver reports every possible reason"),
    ("energy_start_mj=10**12", "joules", "energy is unknown: the energy counter went backwards, or rose by more than"),
]


@pytest.mark.parametrize(("change", "field", "said"), IMPOSSIBLE)
def test_a_reading_that_cannot_be_is_none_and_said_once(sample, change, field, said):
    (before, between, last), *_ = sample(f"stretch(0.4); state({change}); time.sleep(0.1); stretch(0); stretch(0.4)")
    normal = {"sm_clock_hz": 1980e6, "throttled_frac": 0.0, "tensor_active": 0.4}
    assert {name: before[name] for name in normal} == {name: pytest.approx(value) for name, value in normal.items()}
    assert before["joules"] > 0
    (words,) = (*before["troubles"], *between["troubles"], *last["troubles"])
    assert words.startswith(said)
    # Counters of time still tell what held the clock down where the bits do not.
    assert field in (None, "throttled_frac") or last[field] is None


def test_power_that_cannot_be_is_no_power(sample):
    # 0xFFFFFFFF mW are 4.29 MW; three times the limit of 700 W is the most for a moment.
    no_counter = "error__nvmlDeviceGetTotalEnergyConsumption=3"
    then = f"stretch(0.4); state({no_counter}, power_mw=2**32 - 1); time.sleep(0.1); stretch(0); stretch(0.4)"
    (before, between, last), *_ = sample(then, {"error__nvmlDeviceGetTotalEnergyConsumption": 3})
    assert before["power_watts"] == pytest.approx(700)
    assert last["power_watts"] is None
    told = "power is ignored: the driver reports 4.29 MW, but more than 2.1 kW is impossible"
    assert [*before["troubles"], *between["troubles"], *last["troubles"]] == [told]


def test_an_energy_counter_that_stands_still_gives_no_energy(sample):
    (only,), _, _, _, joules, _ = sample("stretch(1.6)", {"energy_still": 1})
    assert only["power_watts"] is None
    assert joules is None
