"""What the fake driver shows of its GPUs, and what may be read of them."""

import json
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.fixture
def gpus(python):
    def listed(driver, **environment):
        result = python(SCRIPTS / "list_gpus.py", environment={**driver.environment(), **environment})
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    return listed


def test_it_describes_every_gpu(gpus, fake_driver):
    # An L4 has 7,424 cores of compute capability 8.9, 128 in an SM: 58 SMs. An H100 16,896: 132.
    l4 = {"name__1": "NVIDIA L4", "sm_clock__1": 1200, "power_mw__1": 70500, "cores__1": 7424, "reasons__1": 0x24}
    fake_driver.set(count=2, cc_major__1=8, cc_minor__1=9, **l4)
    first, second = gpus(fake_driver)
    assert (first["name"], second["name"]) == ("NVIDIA H100 80GB HBM3", "NVIDIA L4")
    assert (first["sm_clock_hz"], second["sm_clock_hz"]) == (1980e6, 1200e6)
    assert (first["sm_count"], second["sm_count"]) == (132, 58)
    assert (second["power_watts"], second["driver"], second["index"]) == (70.5, "580.95.05", 1)
    assert (first["event_reasons"], second["event_reasons"]) == ([], ["power_cap", "software_thermal"])
    assert first["pci_bus_id"] == "00000000:1B:00.0"
    assert set(first["readable"].values()) == {"yes"}


@pytest.mark.parametrize(("bits", "words"), [(0x1, ["idle"]), (0x5, ["idle"]), (0x2, ["clock_setting"])])
def test_idle_and_a_clock_that_was_set_are_no_throttling(gpus, fake_driver, bits, words):
    fake_driver.set(reasons=bits)
    assert gpus(fake_driver)[0]["event_reasons"] == words


def test_what_the_driver_does_not_tell_is_none_with_its_reason(gpus, fake_driver):
    fake_driver.set(error__nvmlDeviceGetPowerUsage=3, error__nvmlDeviceGetEnforcedPowerLimit=4, sm_clock=0, counters=0)
    (gpu,) = gpus(fake_driver)
    assert [gpu["power_watts"], gpu["power_limit_watts"], gpu["sm_clock_hz"], gpu["memory_bytes"]] == [None] * 4
    assert gpu["readable"]["power"] == "Not Supported"
    assert gpu["readable"]["throttle counters"] == "Not Supported"
    assert gpu["readable"]["energy counter"] == "yes"


def test_slices_are_listed_with_their_own_sms(gpus, fake_driver):
    fake_driver.set(count=2, slices__1=2, slice_sms=60)
    whole, sliced = gpus(fake_driver)
    assert (whole["slices"], whole["is_partitioned"], sliced["is_partitioned"]) == ([], False, True)
    assert [each["sm_count"] for each in sliced["slices"]] == [60, 60]
    assert sliced["slices"][0]["name"] == "NVIDIA H100 80GB HBM3 MIG 3g.40gb"
    assert sliced["slices"][1]["uuid"].startswith("MIG-")


def test_an_old_driver_says_what_it_lacks(gpus, old_driver):
    (gpu,) = gpus(old_driver)
    answers = gpu["readable"]
    yes = {what for what, answer in answers.items() if answer == "yes"}
    assert yes == {"clock", "throttle reasons", "power", "utilization"}
    assert {answers[what] for what in set(answers) - yes} == {"Function Not Found"}


@pytest.mark.parametrize(
    ("state", "environment", "said"),
    [
        ({"gpm": 0}, {}, "Hopper and newer"),
        ({"error__nvmlGpmSampleGet": 4}, {}, "Insufficient Permissions"),
        ({"error__nvmlGpmSampleGet": 19}, {}, "In use by another client"),
        ({}, {"NSYS_PROFILING_SESSION_ID": "1"}, "a profiler has claimed the counters"),
    ],
)
def test_tensor_counters_are_left_alone_where_they_are_not_to_be_had(gpus, fake_driver, state, environment, said):
    fake_driver.set(**state)
    assert said in gpus(fake_driver, **environment)[0]["readable"]["tensor activity"]


@pytest.mark.parametrize(("code", "said"), [(15, "GPU is lost"), (4, "Insufficient Permissions")])
def test_a_gpu_that_cannot_be_read_hides_no_other(gpus, fake_driver, code, said):
    fake_driver.set(count=3, unreadable__1=code)
    first, lost, last = gpus(fake_driver)
    assert [each["index"] for each in (first, lost, last)] == [0, 1, 2]
    assert (lost["name"], lost["uuid"]) == ("unknown", None)
    assert said in lost["readable"]["GPU"]
    assert first["readable"]["clock"] == last["readable"]["clock"] == "yes"


@pytest.mark.parametrize(
    ("capability", "cores", "count"),
    # A P100 has 3,584 cores, 64 in an SM (Pascal whitepaper): 56. Of 13.0 nothing is known.
    [((6, 0), 3584, 56), ((13, 0), 16_896, None)],
)
def test_sms_are_known_where_the_cores_of_one_are(gpus, fake_driver, capability, cores, count):
    fake_driver.set(cc_major=capability[0], cc_minor=capability[1], cores=cores)
    assert gpus(fake_driver)[0]["sm_count"] == count
