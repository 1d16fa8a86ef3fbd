"""NVIDIA's real binding over a compiled fake driver, each case in a process of its own."""

from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        # Not supported, no permission and an unknown function are for good; unknown, in use and timeout may pass.
        (3, "None|Not Supported|True"),
        (4, "None|Insufficient Permissions|True"),
        (999, "None|Unknown Error|False"),
        (19, "None|In use by another client|False"),
        (0, "698000|None|False"),
    ],
)
def test_errors_are_for_good_or_for_now(python, fake_driver, code, expected):
    fake_driver.set(power_mw=698000, error__nvmlDeviceGetPowerUsage=code)
    out = python(SCRIPTS / "ask.py", "nvmlDeviceGetPowerUsage", environment=fake_driver.environment()).stdout
    assert out == expected + "\n"


@pytest.mark.parametrize(
    ("code", "said"),
    [(15, "GPU is lost"), (1, "Uninitialized"), (9, "Driver Not Loaded")]
    + [(17, "The operating system has blocked the request.")],
)
def test_a_driver_that_is_gone_is_one_known_error(python, fake_driver, code, said):
    fake_driver.set(error__nvmlDeviceGetPowerUsage=code)
    out = python(SCRIPTS / "ask.py", "nvmlDeviceGetPowerUsage", environment=fake_driver.environment()).stdout
    assert out == f"DriverError: the NVIDIA driver stopped responding: {said}\n"


def test_what_an_old_driver_or_binding_lacks_is_refused_for_good(python, old_driver):
    out = python(SCRIPTS / "ask.py", "nvmlDeviceGetTotalEnergyConsumption", environment=old_driver.environment()).stdout
    assert out.endswith("|True\n")
    assert out.startswith("None|")
    out = python(SCRIPTS / "ask.py", "nvmlDeviceGetWhatNobodyHas", environment=old_driver.environment()).stdout
    assert out == "None|this version of nvidia-ml-py has no nvmlDeviceGetWhatNobodyHas|True\n"


def test_without_a_driver_it_says_so(python):
    assert "DriverError: the NVIDIA driver did not respond" in python(SCRIPTS / "ask.py", "nvmlDeviceGetName").stdout


def test_a_driver_that_does_not_start_says_why(python, fake_driver):
    fake_driver.set(error__nvmlInit=9)
    out = python(SCRIPTS / "ask.py", "nvmlDeviceGetName", environment=fake_driver.environment()).stdout
    assert out == "DriverError: the NVIDIA driver did not respond: Driver Not Loaded\n"


def test_another_module_named_pynvml_is_recognised(python, tmp_path):
    (tmp_path / "pynvml.py").write_text("")
    out = python(SCRIPTS / "ask.py", "nvmlDeviceGetName", environment={"PYTHONPATH": str(tmp_path)}).stdout
    assert "is not NVIDIA's binding" in out
    assert "pip install nvidia-ml-py" in out


def test_nvml_is_opened_again_after_a_fork(python, fake_driver):
    assert python(SCRIPTS / "list_after_a_fork.py", environment=fake_driver.environment()).stdout == "0\n"
    assert [function for _, function in fake_driver.calls()].count("nvmlInit") == 2
