"""One process's GPU, with a sampler that says what the test wants."""

import pytest

from flopwatch.hardware.nvml.lookup import Address
from flopwatch.hardware.sampler import DriverFacts, Trouble
from flopwatch.hardware.telemetry import Telemetry
from flopwatch.lightning import hardware as module
from flopwatch.lightning.hardware import HardwareWatch
from flopwatch.lightning.ranks.publishing import RankReading
from flopwatch.run.records import Event, Hardware

BUSY = Telemetry(9, 1.6e9, 1.5e9)


class Sampler:
    """A sampling thread without a thread."""

    shared_uuid = "GPU-a"

    def __init__(self, address, boost_clock_hz, in_loop):
        self.boost_clock_hz, self.telemetry, self.silent, self.joules = boost_clock_hz, BUSY, False, 100
        self.facts, self.new_troubles = None, []

    def take(self):
        return self.telemetry

    def is_silent(self):
        return self.silent

    def take_joules(self):
        return self.joules

    def set_boost_clock(self, boost_clock_hz):
        self.boost_clock_hz = boost_clock_hz

    def driver(self):
        return "580"

    def hardware(self):
        facts, self.facts = self.facts, None
        return facts

    def troubles(self):
        troubles, self.new_troubles = self.new_troubles, []
        return troubles


@pytest.fixture
def watch(monkeypatch):
    monkeypatch.setattr(module, "Sampler", Sampler)
    monkeypatch.setattr(module.clock, "now", lambda: 1000.0)
    return lambda rank=0: HardwareWatch(Address("GPU", uuid="a"), 1.83e9, lambda: True, rank)


def test_without_a_gpu_everything_is_unknown_and_nothing_is_told():
    none = HardwareWatch(None, None, lambda: True, 0)
    none.start()
    none.set_boost_clock(1e9)
    assert none.read(True) == RankReading(Telemetry(), None, None)
    assert (none.joules(), none.driver(), none.news(1, Telemetry())) == (None, None, [])
    none.stop()


def test_telemetry_is_of_a_whole_window_and_energy_adds_up(watch):
    one = watch()
    assert one.read(False) == RankReading(Telemetry(), 100, "GPU-a")
    assert one.read(True) == RankReading(BUSY, 200, "GPU-a")


def test_energy_is_unknown_while_the_driver_is_silent_and_for_good_once_some_is(watch):
    one = watch()
    one._sampler.silent = True
    assert one.joules() is None
    one._sampler.silent = False
    assert one.joules() == 100
    one._sampler.joules = None
    assert one.joules() is None
    one._sampler.joules = 100
    assert one.joules() is None


def test_another_precision_is_another_clock(watch):
    one = watch()
    one.set_boost_clock(1.98e9)
    assert (one._sampler.boost_clock_hz, one.driver()) == (1.98e9, "580")


def test_what_the_driver_tells_is_a_record_once(watch):
    one = watch()
    one._sampler.facts = DriverFacts("GPU", "GPU-a", "580", False, 1.98e9, 700.0, "the counter", {"SM clock": "yes"})
    (record,) = one.news(5, None)
    assert isinstance(record, Hardware)
    assert (record.time, record.name, record.power_limit_watts) == (1000.0, "GPU", 700.0)
    assert one.news(5, None) == []


@pytest.mark.parametrize(("rank", "told"), [(0, ["all", "mine"]), (3, ["rank 3: mine"])])
def test_troubles_are_logged_with_the_rank_and_those_of_all_by_the_first_one(watch, caplog, rank, told):
    one = watch(rank)
    one._sampler.new_troubles = [Trouble("all", everywhere=True), Trouble("mine")]
    records = one.news(1500, None)
    assert [each.message for each in caplog.records] == [f"{words}; training continues" for words in told]
    assert records == [Event(1000.0, f"since step 1,500: {words.removeprefix('rank 3: ')}") for words in told]


def test_a_gpu_of_another_rank_that_is_not_read_is_told_after_two_windows_once(watch):
    one = watch()
    seen = []
    for everyone in (BUSY, Telemetry(), BUSY, Telemetry(), Telemetry(), Telemetry()):
        one.read(True)
        seen.append([each.message for each in one.news(1, everyone)])
    words = "since step 1: another rank's GPU is not being read, so clocks and energy of the run are unknown"
    assert seen == [[], [], [], [], [words], []]


def test_where_its_own_is_not_read_either_nothing_is_said_of_others(watch):
    one = watch()
    one._sampler.telemetry = Telemetry()
    for _ in range(3):
        one.read(True)
        assert one.news(1, Telemetry()) == []


def test_a_sampler_that_fails_costs_its_readings_alone(watch, caplog):
    one = watch()
    one._sampler.take = one._sampler.troubles = lambda: 1 / 0
    assert one.read(True) == RankReading(Telemetry(), 100, "GPU-a")
    assert one.news(1, None) == []
    assert caplog.text.count("reading the GPU failed, everything else continues: ZeroDivisionError") == 1


def test_a_sampler_that_cannot_be_made_is_none(monkeypatch):
    monkeypatch.setattr(module, "Sampler", lambda *arguments: 1 / 0)
    one = HardwareWatch(Address("GPU"), None, lambda: True, 0)
    assert one.read(True) == RankReading(Telemetry(), None, None)
