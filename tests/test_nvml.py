"""NVIDIA's real binding over a compiled fake driver, each case in a process of its own."""

import json

import pytest

LIST = """
import dataclasses, json
from flopwatch import nvml
print(json.dumps([dataclasses.asdict(gpu) for gpu in nvml.list_gpus()]))
"""

ONE = """
import sys
from flopwatch import nvml
from flopwatch.errors import DriverError
try:
    print(nvml.sm_clock_hz(nvml.handle_by_uuid(sys.argv[1])))
except DriverError as error:
    print("DriverError:", error)
"""


def test_it_describes_every_gpu(python, fake_driver):
    fake_driver.set(count=2, name__1="NVIDIA L4", sm_clock__1=1200, power_mw__1=70500)
    result = python(LIST, environment=fake_driver.environment())
    first, second = json.loads(result.stdout)
    assert (first["name"], second["name"]) == ("NVIDIA H100 80GB HBM3", "NVIDIA L4")
    assert (first["sm_clock_hz"], second["sm_clock_hz"]) == (1980e6, 1200e6)
    assert (second["power_watts"], second["driver"], second["index"]) == (70.5, "580.95.05", 1)


def test_what_the_driver_does_not_tell_is_none(python, fake_driver):
    fake_driver.set(error__nvmlDeviceGetPowerUsage=3, error__nvmlDeviceGetEnforcedPowerLimit=4, sm_clock=0)
    (gpu,) = json.loads(python(LIST, environment=fake_driver.environment()).stdout)
    # Not supported, not permitted, an idle clock of zero, and two functions that this old driver does not have.
    assert [gpu["power_watts"], gpu["power_limit_watts"], gpu["sm_clock_hz"]] == [None, None, None]
    assert [gpu["memory_bytes"], gpu["pci_bus_id"]] == [None, None]
    assert gpu["temperature_celsius"] == 64


@pytest.mark.parametrize("prefix", ["", "GPU-"])
def test_a_gpu_is_found_by_its_uuid_not_its_index(python, fake_driver, prefix):
    fake_driver.set(count=3, uuid__2="GPU-cafe", sm_clock__0=1000, sm_clock__1=1100, sm_clock__2=1200)
    assert python(ONE, f"{prefix}cafe", environment=fake_driver.environment()).stdout == "1200000000.0\n"


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"error__nvmlInit": 9}, "did not answer: Driver Not Loaded"),
        ({"error__nvmlDeviceGetClockInfo": 15, "uuid": "GPU-cafe"}, "stopped answering: GPU is lost"),
        ({}, "knows no GPU with UUID GPU-cafe"),
    ],
)
def test_a_driver_that_is_gone_is_one_known_error(python, fake_driver, state, said):
    fake_driver.set(**state)
    out = python(ONE, "cafe", environment=fake_driver.environment()).stdout
    assert out.startswith("DriverError:")
    assert said in out


def test_without_a_driver_it_says_so(python):
    assert "DriverError: the NVIDIA driver did not answer" in python(ONE, "cafe").stdout


def test_another_module_named_pynvml_is_recognised(python, tmp_path):
    (tmp_path / "pynvml.py").write_text("")
    out = python(ONE, "cafe", environment={"PYTHONPATH": str(tmp_path)}).stdout
    assert "is not NVIDIA's binding" in out
    assert "pip install nvidia-ml-py" in out


def test_nvml_is_opened_again_after_a_fork(python, fake_driver):
    script = """
import os
from flopwatch import nvml
nvml.list_gpus()
if os.fork() == 0:
    os._exit(0 if len(nvml.list_gpus()) == 1 else 1)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    assert python(script, environment=fake_driver.environment()).stdout == "0\n"
    assert [function for _, function in fake_driver.calls()].count("nvmlInit") == 2
