"""`flopwatch gpus`, as typed, over the fake driver."""

import json

import pytest

from flopwatch.cli.command_line import DONE, main


def test_gpus_by_name(capsys, assert_known_failure):
    assert main(["gpus", "--name", "NVIDIA H100 80GB HBM3", "--json"]) == DONE
    (gpu,) = json.loads(capsys.readouterr().out)["gpus"]
    assert (gpu["peak_flops_per_second"], gpu["dtype"], gpu["sm_count"]) == (989.4e12, "bf16", 132)
    assert main(["gpus", "--name", "Tesla T4"]) == DONE
    assert "65 TFLOP/s dense" in capsys.readouterr().out
    assert_known_failure(["gpus", "--name", "RTX A1000"], "nearest names:")


def test_gpus_of_this_machine_through_the_driver(python, fake_driver):
    fake_driver.set(count=2, name__1="NVIDIA Foo")
    script = "import sys; from flopwatch.cli import main; sys.exit(main(sys.argv[1:]))"
    result = python(script, "gpus", "--json", environment=fake_driver.environment())
    known, unknown = json.loads(result.stdout)["gpus"]
    assert (known["peak_flops_per_second"], known["sm_clock_hz"], known["index"]) == (989.4e12, 1980e6, 0)
    assert unknown["peak_flops_per_second"] is None
    assert "no peak known for a device named 'NVIDIA Foo'" in unknown["source"]
    text = python(script, "gpus", environment=fake_driver.environment()).stdout
    lines = text.splitlines()
    assert lines[0].split()[:2] == ["GPU", "name"]
    assert "1980 of 1980" in lines[2]
    assert "989.4 bf16" in lines[2]
    assert "no peak known for a device named 'NVIDIA Foo'" in text
    assert "what can be read on all GPUs (driver 580.95.05)" in text


def test_slices_have_the_peak_of_their_own_sms(python, fake_driver):
    fake_driver.set(slices=2, slice_sms=60)
    script = "import sys; from flopwatch.cli import main; sys.exit(main(sys.argv[1:]))"
    (gpu,) = json.loads(python(script, "gpus", "--json", environment=fake_driver.environment()).stdout)["gpus"]
    # 60 of 132 SMs: 989.4e12 x 60 / 132 = 449.7e12.
    assert [each["peak_flops_per_second"] for each in gpu["slices"]] == [pytest.approx(449.727e12, rel=1e-5)] * 2
    assert gpu["mig"]
    text = python(script, "gpus", environment=fake_driver.environment()).stdout
    assert text.count("0 MIG") == 2


def test_a_gpu_with_other_sms_than_its_name_says_has_no_peak(python, fake_driver):
    fake_driver.set(cores=14592)
    script = "import sys; from flopwatch.cli import main; sys.exit(main(sys.argv[1:]))"
    (gpu,) = json.loads(python(script, "gpus", "--json", environment=fake_driver.environment()).stdout)["gpus"]
    assert (gpu["peak_flops_per_second"], gpu["sm_count"]) == (None, 114)
    assert "should have 132 SMs, this one has 114" in gpu["source"]


AMDSMI = """
def amdsmi_init(): pass
def amdsmi_get_processor_handles(): return [0, 1, 2]
def amdsmi_get_gpu_asic_info(handle):
    if handle == 2: raise RuntimeError("no answer")
    return {"market_name": "AMD Instinct MI300X", "num_compute_units": (304, 80)[handle]}
def amdsmi_get_gpu_device_uuid(handle): return f"uuid-{handle}"
"""


def test_amds_gpus_have_a_name_and_a_peak_and_nothing_else(python, tmp_path):
    (tmp_path / "amdsmi.py").write_text(AMDSMI)
    script = "import sys; from flopwatch.cli import main; sys.exit(main(sys.argv[1:]))"
    result = python(script, "gpus", "--json", environment={"PYTHONPATH": str(tmp_path)})
    known, other, silent = json.loads(result.stdout)["gpus"]
    assert (known["peak_flops_per_second"], known["uuid"]) == (1307.4e12, "uuid-0")
    # Some MI308X call themselves MI300X; they have 80 compute units.
    assert (other["peak_flops_per_second"], silent["name"]) == (None, "unknown")
    text = python(script, "gpus", environment={"PYTHONPATH": str(tmp_path)}).stdout
    assert "on NVIDIA GPUs only" in " ".join(text.split())


def test_gpus_without_a_driver_is_normal(python):
    script = "import sys; from flopwatch.cli import main; sys.exit(main(sys.argv[1:]))"
    result = python(script, "gpus", "--json")
    assert (result.returncode, json.loads(result.stdout)) == (DONE, {"gpus": []})
    assert result.stderr.count("\n") == 1
