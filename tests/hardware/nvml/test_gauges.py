"""Units and bits of each reading, over answers that are made up."""

from types import SimpleNamespace

import pytest

from flopwatch.hardware.nvml import gauges
from flopwatch.hardware.nvml.driver import Answer

GPU = object()
REFUSED = Answer(error="Not Supported", permanent=True)


@pytest.fixture
def driver(monkeypatch):
    """Answers by the name of the function; what was asked is kept."""
    answers, asked = {}, []

    def ask(function, *arguments):
        asked.append(function)
        answer = answers.get(function, REFUSED)
        return answer(*arguments) if callable(answer) else answer

    monkeypatch.setattr(gauges, "ask", ask)
    return SimpleNamespace(answers=answers, asked=asked)


@pytest.mark.parametrize(
    ("gauge", "function", "raw", "value"),
    [
        (gauges.sm_clock_hz, "nvmlDeviceGetClockInfo", 1980, 1.98e9),  # MHz
        (gauges.max_sm_clock_hz, "nvmlDeviceGetMaxClockInfo", 2100, 2.1e9),
        (gauges.energy_joules, "nvmlDeviceGetTotalEnergyConsumption", 12_345, 12.345),  # mJ
        (gauges.power_watts, "nvmlDeviceGetPowerUsage", 698_500, 698.5),  # mW
        (gauges.power_limit_watts, "nvmlDeviceGetEnforcedPowerLimit", 700_000, 700.0),
        (gauges.utilization, "nvmlDeviceGetUtilizationRates", SimpleNamespace(gpu=87, memory=3), 0.87),  # percent
    ],
)
def test_a_reading_is_in_base_units_or_refused_with_the_drivers_words(driver, gauge, function, raw, value):
    assert gauge(GPU) == REFUSED
    driver.answers[function] = Answer(raw)
    assert gauge(GPU).value == pytest.approx(value, rel=1e-12)


def test_a_clock_that_reads_zero_is_none(driver):
    driver.answers["nvmlDeviceGetClockInfo"] = driver.answers["nvmlDeviceGetMaxClockInfo"] = Answer(0)
    # An idle GPU's may be read next time, the highest one never.
    assert gauges.sm_clock_hz(GPU) == Answer()
    assert gauges.max_sm_clock_hz(GPU) == Answer(error="reads zero", permanent=True)


UNKNOWN = 0xFFFFFFFF  # what NVML says where it does not know


@pytest.mark.parametrize(
    ("gauge", "function", "raw", "said"),
    [
        (gauges.sm_clock_hz, "nvmlDeviceGetClockInfo", UNKNOWN, "more than 10000 MHz is impossible"),
        (gauges.max_sm_clock_hz, "nvmlDeviceGetMaxClockInfo", UNKNOWN, "more than 10000 MHz is impossible"),
        (
            gauges.power_watts,
            "nvmlDeviceGetPowerUsage",
            UNKNOWN,
            "the driver reports 4.29 MW, but more than 10 kW is impossible",
        ),
        (gauges.power_limit_watts, "nvmlDeviceGetEnforcedPowerLimit", UNKNOWN, "more than 10 kW is impossible"),
        (gauges.utilization, "nvmlDeviceGetUtilizationRates", SimpleNamespace(gpu=250), "the driver reports 250%"),
        (gauges.event_reasons, "nvmlDeviceGetCurrentClocksEventReasons", 2**64 - 1, "every possible reason at once"),
    ],
)
def test_what_cannot_be_is_no_reading(driver, gauge, function, raw, said):
    driver.answers[function] = Answer(raw)
    answer = gauge(GPU)
    assert (answer.value, answer.permanent, answer.impossible) == (None, False, True)
    assert said in answer.error


def test_no_clock_is_more_than_a_step_above_the_highest(driver):
    for megahertz, value in ((1995, 1.995e9), (1996, None)):
        driver.answers["nvmlDeviceGetClockInfo"] = Answer(megahertz)
        assert gauges.sm_clock_hz(GPU, 1.98e9).value == value


def test_no_clock_is_less_than_a_hundredth_of_the_highest(driver):
    # 1% of 1,980 MHz are 19.8.
    for megahertz, value in ((20, 2e7), (19, None), (1, None)):
        driver.answers["nvmlDeviceGetClockInfo"] = Answer(megahertz)
        assert gauges.sm_clock_hz(GPU, 1.98e9).value == value
    assert gauges.sm_clock_hz(GPU, 1.98e9).error == "the driver reports 1 MHz, but less than 20 MHz is impossible"


def test_a_moment_may_draw_three_times_the_limit(driver):
    assert gauges.most_watts(GPU) == 10_000.0
    driver.answers["nvmlDeviceGetEnforcedPowerLimit"] = Answer(700_000)
    assert gauges.most_watts(GPU) == 2100.0


def test_energy_and_power_of_zero_are_numbers(driver):
    driver.answers["nvmlDeviceGetTotalEnergyConsumption"] = driver.answers["nvmlDeviceGetPowerUsage"] = Answer(0)
    assert (gauges.energy_joules(GPU).value, gauges.power_watts(GPU).value) == (0.0, 0.0)


def test_reasons_are_asked_by_the_older_name_only_where_the_newer_is_refused_for_good(driver):
    newer, older = "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"
    driver.answers[older] = Answer(4)
    assert gauges.event_reasons(GPU) == Answer(4)
    driver.asked.clear()
    driver.answers[newer] = Answer(error="Timeout")
    assert gauges.event_reasons(GPU) == Answer(error="Timeout")
    assert driver.asked == [newer]


@pytest.mark.parametrize(
    ("bits", "reasons"),
    [
        (0x0, set()),
        (0x2, set()),  # a clock that the user set
        (0x4, {"power_cap"}),
        (0x5, set()),  # idle, with the power cap's bit
        (0x14, {"power_cap", "sync_boost"}),
        (0x8, {"hardware_slowdown"}),
        (0x48, {"hardware_thermal"}),  # hardware slowdown says no more than which one
        (0xA8, {"hardware_power_brake", "software_thermal"}),
    ],
)
def test_the_bits_say_what_holds_the_clock_down(bits, reasons):
    assert gauges.reasons_of(bits) == reasons


def test_idle_and_without_any_reason_are_two_things():
    assert [gauges.is_idle(bits) for bits in (0x0, 0x1, 0x5, 0x4)] == [False, True, True, False]
    assert [gauges.has_no_reason(bits) for bits in (0x0, 0x1, 0x2)] == [True, False, False]


def field(code=0, kind=3, **value):
    return SimpleNamespace(nvmlReturn=code, valueType=kind, value=SimpleNamespace(**value))


def test_counters_are_read_by_the_type_of_their_value_and_those_refused_are_left_out(driver):
    # Power cap, sync boost, software thermal, hardware thermal, power brake; in nanoseconds.
    fields = [field(ullVal=2_500_000_000), field(3), field(kind=0, dVal=1e9), field(kind=1, uiVal=7), field(999)]
    driver.answers["nvmlDeviceGetFieldValues"] = Answer(fields)
    assert gauges.reason_seconds(GPU).value == pytest.approx(
        {"power_cap": 2.5, "software_thermal": 1.0, "hardware_thermal": 7e-9}
    )


def test_without_any_counter_the_first_ones_error_stands(driver):
    driver.answers["nvmlDeviceGetFieldValues"] = Answer([field(3), *(field(999) for _ in range(4))])
    answer = gauges.reason_seconds(GPU)
    assert (answer.value, answer.error, answer.permanent) == (None, "Not Supported", True)


@pytest.fixture
def gpm(driver, monkeypatch):
    """A GPU with GPM counters, whose share is read as 40%; the clock of the process is `now`."""
    for name in gauges._PROFILERS:
        monkeypatch.delenv(name, raising=False)
    samples = iter(range(1, 100))
    driver.now, driver.share = 100.0, 40.0

    def between(request):
        request.metrics[0].value = driver.share
        return Answer(request)

    driver.answers |= {
        "nvmlGpmQueryDeviceSupport": Answer(SimpleNamespace(isSupportedDevice=1)),
        "nvmlGpmSampleAlloc": lambda: Answer(next(samples)),
        "nvmlGpmSampleGet": lambda gpu, sample: Answer(sample),
        "nvmlGpmMigSampleGet": lambda gpu, instance, sample: Answer(sample),
        "nvmlGpmMetricsGet": between,
        "nvmlGpmSampleFree": lambda sample: Answer(),
    }
    request = SimpleNamespace(metrics=[SimpleNamespace(nvmlReturn=0, value=0.0)])
    binding = SimpleNamespace(
        NVML_GPM_METRICS_GET_VERSION=1, c_nvmlGpmMetricsGet_t=lambda: request, NVMLError=lambda code: f"error {code}"
    )
    monkeypatch.setattr(gauges, "binding", lambda: binding)
    monkeypatch.setattr(gauges.time, "monotonic", lambda: driver.now)
    driver.metric = request.metrics[0]
    return driver


def test_tensor_activity_is_the_share_between_two_readings(gpm):
    gauge = gauges.TensorGauge(GPU, GPU)
    assert gauge.read() == Answer()
    gpm.now += 1.0
    assert gauge.read() == Answer(0.4)
    # The memory of the sample before the last is used again: two in all, and both are given back.
    gpm.now += 1.0
    assert gauge.read() == Answer(0.4)
    assert gpm.asked.count("nvmlGpmSampleAlloc") == 2
    gauge.close()
    assert gpm.asked.count("nvmlGpmSampleFree") == 2


def test_two_readings_closer_than_the_counters_allow_are_one(gpm):
    gauge = gauges.TensorGauge(GPU, GPU)
    gauge.read()
    gpm.now += 0.05
    assert gauge.read() == Answer()
    assert gpm.asked.count("nvmlGpmSampleGet") == 1
    gpm.now += 0.06
    assert gauge.read() == Answer(0.4)


def test_a_share_that_is_no_number_is_none(gpm):
    gauge, gpm.share = gauges.TensorGauge(GPU, GPU), float("nan")
    gauge.read()
    gpm.now += 1.0
    assert gauge.read() == Answer()


@pytest.mark.parametrize("share", [120.0, -5.0, 1e308])
def test_no_share_of_cycles_is_above_all_of_them_or_below_none(gpm, share):
    gauge, gpm.share = gauges.TensorGauge(GPU, GPU), share
    gauge.read()
    gpm.now += 1.0
    assert gauge.read().impossible


def test_a_metric_that_is_refused_says_why(gpm):
    gauge, gpm.metric.nvmlReturn = gauges.TensorGauge(GPU, GPU), 42
    gauge.read()
    gpm.now += 1.0
    assert gauge.read() == Answer(error="error 42")


def test_counters_that_a_profiler_holds_are_not_touched(gpm, monkeypatch):
    monkeypatch.setenv("NSYS_PROFILING_SESSION_ID", "1")
    assert gauges.TensorGauge(GPU, GPU).read() == Answer(error="a profiler has claimed the counters", permanent=True)
    assert gpm.asked == []


def test_a_gpu_without_counters_says_which_have_them(gpm):
    gpm.answers["nvmlGpmQueryDeviceSupport"] = Answer(SimpleNamespace(isSupportedDevice=0))
    answer = gauges.TensorGauge(GPU, GPU).read()
    assert (answer.error, answer.permanent) == ("this GPU has no such counters (Hopper and newer do)", True)


def test_a_slice_is_read_by_its_own_number_or_not_at_all(gpm):
    slice_ = object()
    assert gauges.TensorGauge(slice_, GPU).read() == REFUSED
    gpm.answers["nvmlDeviceGetGpuInstanceId"] = Answer(7)
    gauge = gauges.TensorGauge(slice_, GPU)
    gauge.read()
    gpm.now += 1.0
    assert gauge.read() == Answer(0.4)
    assert "nvmlGpmSampleGet" not in gpm.asked, "the whole GPU's counters are its neighbours', too"
