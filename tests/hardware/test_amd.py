"""AMD's GPUs over a module that stands in for amdsmi."""

import sys
from types import SimpleNamespace

import pytest

from flopwatch.hardware.amd import AmdGpu, list_gpus


@pytest.fixture
def amdsmi(monkeypatch):
    """Install a binding that shows some GPUs, each a pair of what it is and its UUID, or an error."""

    def install(*gpus, init=lambda: None):
        def answer(place):
            def asked(handle):
                if isinstance(gpus[handle], Exception):
                    raise gpus[handle]
                return gpus[handle][place]

            return asked

        module = SimpleNamespace(
            amdsmi_init=init,
            amdsmi_get_processor_handles=lambda: list(range(len(gpus))),
            amdsmi_get_gpu_asic_info=answer(0),
            amdsmi_get_gpu_device_uuid=answer(1),
        )
        monkeypatch.setitem(sys.modules, "amdsmi", module)

    return install


def test_a_gpu_has_its_name_its_uuid_and_its_compute_units(amdsmi):
    amdsmi(({"market_name": "AMD Instinct MI300X", "num_compute_units": 304}, "cafe"))
    assert list_gpus() == [AmdGpu(0, "AMD Instinct MI300X", "cafe", 304)]


def test_one_that_does_not_answer_is_unknown_and_the_others_keep_their_numbers(amdsmi):
    amdsmi(({"market_name": "A"}, "a"), RuntimeError("busy"), ({"market_name": "C"}, "c"))
    assert list_gpus() == [AmdGpu(0, "A", "a", None), AmdGpu(1, "unknown", None, None), AmdGpu(2, "C", "c", None)]


def test_compute_units_that_are_no_number_are_not_known(amdsmi):
    amdsmi(({"market_name": "A", "num_compute_units": "N/A"}, "a"), ({}, "b"))
    assert list_gpus() == [AmdGpu(0, "A", "a", None), AmdGpu(1, "unknown", "b", None)]


def test_without_the_binding_there_is_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "amdsmi", None)
    assert list_gpus() == []


def test_without_a_driver_there_is_none_and_the_log_says_why(amdsmi, caplog):
    def init():
        raise OSError("no libamd_smi.so")

    amdsmi(({"market_name": "A"}, "a"), init=init)
    with caplog.at_level("DEBUG", logger="flopwatch"):
        assert list_gpus() == []
    assert "amdsmi does not respond: no libamd_smi.so" in caplog.text
