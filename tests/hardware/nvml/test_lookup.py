"""The right GPU: several of them in the driver, in another order than CUDA's, hidden, sliced, and without UUIDs."""

import json
from pathlib import Path

import pytest

from flopwatch.hardware.nvml.lookup import visible_entry

SCRIPTS = Path(__file__).parent / "scripts"

H100 = "NVIDIA H100 80GB HBM3"


@pytest.fixture
def find(python, fake_driver):
    """Three GPUs of which CUDA may show any in any order; each runs at a clock of its own."""

    def run(state=None, environment=None, **address):
        clocks = {"sm_clock__0": 1000, "sm_clock__1": 1100, "sm_clock__2": 1200}
        uuids = {"uuid__0": "GPU-aaaa", "uuid__1": "GPU-bbbb", "uuid__2": "GPU-bbcc"}
        fake_driver.set(count=3, **clocks, **uuids, **(state or {}))
        address = {"name": H100, **address}
        result = python(
            SCRIPTS / "find_gpu.py",
            json.dumps(address),
            environment={**fake_driver.environment(), **(environment or {})},
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    return run


@pytest.mark.parametrize("uuid", ["bbcc", "GPU-bbcc"])
@pytest.mark.parametrize("visible", ["2", "1,2,0", "GPU-bbcc,GPU-aaaa", ""])
def test_the_uuid_finds_it_whatever_cuda_shows(find, uuid, visible):
    # CUDA's first device may be the driver's third: its number says nothing.
    environment = {"CUDA_VISIBLE_DEVICES": visible}
    assert find(uuid=uuid, cuda_index=0, environment=environment) == ["GPU-bbcc", 1200.0, False, None]


def test_a_slice_is_found_by_its_uuid_and_has_its_gpus_clock(find):
    state = {"slices__1": 2, "slice_uuid.1__1": "MIG-dddd"}
    assert find(state, uuid="dddd") == ["MIG-dddd", 1100.0, True, None]
    assert find(state, uuid="MIG-dddd") == ["MIG-dddd", 1100.0, True, None]


def test_then_the_pci_bus_id_finds_it(find):
    # The fake driver's GPU 1 sits at bus 16 * 1 + 27 = 0x2B.
    assert find(pci_bus_id="00000000:2B:00.0") == ["GPU-bbbb", 1100.0, False, None]
    assert find(uuid="unknown", pci_bus_id="00000000:2B:00.0") == ["GPU-bbbb", 1100.0, False, None]


def test_the_bus_of_a_sliced_gpu_does_not_say_which_slice(find):
    assert "knows no GPU" in find({"slices__1": 2}, pci_bus_id="00000000:2B:00.0")


def test_an_unknown_uuid_is_never_replaced_by_a_number(find):
    assert "knows no GPU with UUID cafe" in find(uuid="cafe", cuda_index=0)


@pytest.mark.parametrize(
    ("visible", "index", "expected"),
    [("2,0", 0, "GPU-bbcc"), ("2,0", 1, "GPU-aaaa"), ("GPU-bbb", 0, "GPU-bbbb"), (None, 1, "GPU-bbbb")],
)
def test_without_uuids_the_environment_is_read_as_cuda_reads_it(find, visible, index, expected):
    environment = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", **({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})}
    uuid, _, _, doubt = find(cuda_index=index, environment=environment)
    assert uuid == expected
    assert doubt is None if visible == "GPU-bbb" else "found by its number" in doubt


def test_numbers_in_cudas_own_order_are_a_guess_and_said_to_be(find):
    _, _, _, doubt = find(cuda_index=1)
    assert "set CUDA_DEVICE_ORDER=PCI_BUS_ID" in doubt


@pytest.mark.parametrize(
    ("state", "environment", "said"),
    [
        # Different GPUs in CUDA's own order: the number may mean any of them.
        ({"name__1": "NVIDIA L4"}, {}, "may be any of"),
        # The number means another kind of GPU than CUDA's.
        ({"name__1": "NVIDIA L4"}, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, "is not the driver's GPU 1"),
        ({"slices__1": 2}, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, "is not the driver's GPU 1"),
        # An abbreviation that two UUIDs begin with, and one that none does.
        ({}, {"CUDA_VISIBLE_DEVICES": "0,GPU-bb"}, "knows 2 GPUs whose UUID starts with GPU-bb"),
        ({}, {"CUDA_VISIBLE_DEVICES": "0,GPU-ff"}, "knows 0 GPUs whose UUID starts with GPU-ff"),
        ({}, {"CUDA_VISIBLE_DEVICES": ""}, "does not tell which GPU is in use"),
        ({}, {"CUDA_VISIBLE_DEVICES": "0,-1,1"}, "does not tell which GPU is in use"),
    ],
)
def test_a_neighbour_is_never_taken_for_it(find, state, environment, said):
    assert said in find(state, cuda_index=1, environment=environment)


@pytest.mark.parametrize(
    ("index", "visible", "entry"),
    [(1, None, "1"), (0, "3,1", "3"), (1, " 3 , GPU-x ", "GPU-x"), (0, "", None), (0, "-1", None), (1, "0,x,1", None)]
    + [(1, "0,MIG-x", "MIG-x"), (2, "0,1", None)],
)
def test_how_cuda_reads_its_variable(index, visible, entry):
    assert visible_entry(index, visible) == entry


def test_a_gpu_that_cannot_be_had_keeps_its_number(find):
    environment = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    found = find({"unreadable__1": 4}, environment, cuda_index=2)
    assert found[:2] == ["GPU-bbcc", 1200]
    assert "not the driver's GPU 1" in find({"unreadable__1": 4}, environment, cuda_index=1)
