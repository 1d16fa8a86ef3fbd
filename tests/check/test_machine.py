"""What is said of this machine, and what is not."""

import getpass
import json
import platform

import torch

from flopwatch.check import machine


def test_without_a_gpu_the_cpu_is_checked(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    here = machine.machine_here()
    assert (here.device.type, here.described.dtype, here.address) == ("cpu", "fp32", None)
    assert here.described.peak_flops_per_second is None


def test_versions_name_no_owner():
    found = machine.versions("580.95.05")
    assert found["torch"] == torch.__version__
    assert found["driver"] == "580.95.05"
    assert {"flopwatch", "lightning", "python", "os"} <= set(found)
    assert "driver" not in machine.versions()
    text = json.dumps(dict(found))
    assert getpass.getuser() not in text
    assert platform.node() not in text


def test_a_kernels_suffix_is_left_out(monkeypatch):
    monkeypatch.setattr(machine.platform, "system", lambda: "Linux")
    monkeypatch.setattr(machine.platform, "release", lambda: "6.8.0-1021-acme-corp")
    monkeypatch.setattr(machine.platform, "machine", lambda: "x86_64")
    assert machine.operating_system() == "Linux 6.8.0 x86_64"


def test_what_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr(machine, "lightning_package", lambda: None)
    assert "lightning" not in machine.versions()


def test_a_processor_has_a_name():
    assert machine.processor()
    assert "\n" not in machine.processor()
