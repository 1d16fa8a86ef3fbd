"""One daemon thread that reads one GPU once a second, so that training never waits for the driver."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

from flopwatch.errors import DriverError
from flopwatch.hardware.nvml import gauges
from flopwatch.hardware.nvml.driver import READ, Answer, ask, driver_version
from flopwatch.hardware.nvml.lookup import Address, FoundGpu, find_gpu
from flopwatch.hardware.telemetry import DriverFacts, Reading, Tally, Telemetry

_logger = logging.getLogger("flopwatch")
_T = TypeVar("_T")
INTERVAL_SECONDS = 1.0
_SLOW_CALL_SECONDS = 0.005
_SLOW_CALL_STRETCH = 1000
_CALLS_JUDGED = 3
_FAILURES_TOLD = 5
_LONGEST_BACKOFF = 64
_SILENCE_SECONDS = 10.0
_JOIN_SECONDS = 1.0
_NOT_ASKED = "not asked yet"
CLOCK, REASONS, COUNTERS, ENERGY, POWER, BUSY, TENSOR = (
    "SM clock",
    "throttle reasons",
    "throttle counters",
    "energy counter",
    "power",
    "utilization",
    "tensor activity",
)
# What nearly every GPU has; that others cannot be read is normal, and said in the report alone.
_EXPECTED = (CLOCK, REASONS)


@dataclass(frozen=True)
class Trouble:
    """A reading problem in words; `everywhere` if all GPUs with this driver are likely to have it."""

    words: str
    everywhere: bool = False


class _Question(Generic[_T]):
    """One reading: given up where it is refused for good, asked less often where it fails or takes long.

    Args:
        what: Its name.
        read: Asks the driver.
        interval_seconds: Time between two readings when all is well.
    """

    def __init__(self, what: str, read: Callable[[], Answer[_T]], interval_seconds: float) -> None:
        self.what = what
        self.given_up = False
        self.state = _NOT_ASKED
        self.pause_seconds = 0.0
        self.troubles: list[Trouble] = []
        self._read, self._interval_seconds = read, interval_seconds
        self._took: deque[float] = deque(maxlen=_CALLS_JUDGED)
        self._due = self._failures = 0.0
        self._answered = self._told_impossible = False

    @property
    def failing(self) -> bool:
        """Return whether it has failed often enough to be reported."""
        return self._failures >= _FAILURES_TOLD

    def ask(self, *, at_once: bool = False) -> _T | None:
        """The value now; `None` if there is none, or it is not time to ask."""
        now = time.monotonic()
        if self.given_up or (now < self._due and not at_once):
            return None
        started = time.perf_counter()
        answer = self._read()
        self._took.append(time.perf_counter() - started)
        self._due = now + self._pause(answer)
        return answer.value

    def _pause(self, answer: Answer[_T]) -> float:
        """Return the seconds to wait before the next question."""
        if answer.error is not None:
            return self._after_failure(answer)
        if answer.value is not None:
            if self.failing:
                self.troubles.append(Trouble(f"{self.what} can be read again"))
            self._answered, self._failures, self.state = True, 0, READ
        # The quickest of a few calls, since a single one may have waited for Python's lock.
        quickest = min(self._took)
        slow = len(self._took) == _CALLS_JUDGED and quickest > _SLOW_CALL_SECONDS
        self.pause_seconds = quickest * _SLOW_CALL_STRETCH if slow else 0.0
        return self.pause_seconds

    def _after_failure(self, answer: Answer[_T]) -> float:
        """Note a failure; retry what once worked, because power that is polled too fast is reported as unsupported."""
        self.state = str(answer.error)
        if answer.permanent and not self._answered:
            self.given_up = True
            if self.what in _EXPECTED:
                self.troubles.append(Trouble(f"{self.what} cannot be read: {answer.error}", everywhere=True))
            return 0.0
        self._failures += 1
        if answer.impossible and not self._told_impossible:
            self._told_impossible = True
            verb = "are" if self.what.endswith("s") else "is"
            self.troubles.append(Trouble(f"{self.what} {verb} ignored: {answer.error}"))
        elif not answer.impossible and self._failures == _FAILURES_TOLD:
            words = f"{self.what} cannot be read at the moment: {answer.error}; retrying from time to time"
            self.troubles.append(Trouble(words))
        return self._interval_seconds * float(min(2**self._failures, _LONGEST_BACKOFF))


class Sampler:
    """Reads one GPU until it is stopped or the driver stops answering; the thread that makes it never asks the driver.

    Args:
        address: The GPU, as CUDA names it.
        boost_clock_hz: The datasheet's clock, below which a busy GPU is slow.
        in_loop: Tells, in the sampling thread, whether the process is in its training loop at the moment.
        interval_seconds: Time between two readings; a reading that takes over 5 ms even in the quickest of its last
            three calls is asked a thousand times its duration apart.
    """

    def __init__(
        self,
        address: Address,
        boost_clock_hz: float | None = None,
        in_loop: Callable[[], bool] = lambda: True,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self._address = address
        self._in_loop = in_loop
        self._interval_seconds = interval_seconds
        self._lock = threading.RLock()  # a signal handler may end the run in the midst of any call
        self._tally = Tally(boost_clock_hz)
        self._hardware: DriverFacts | None = None
        self._told: DriverFacts | None = None
        self._troubles: list[Trouble] = []
        self._doubts: set[str] = set()
        self._questions: dict[str, _Question[Any]] = {}
        self._tensor: gauges.TensorGauge | None = None
        self.shared_uuid: str | None = None
        self._energy_lost = False
        self._answered_at = self._started_at = time.monotonic()
        self._dead = self._silent = self._hangs = self._told_slow = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flopwatch-nvml", daemon=True)

    def start(self) -> None:
        """Start the thread; the driver is opened inside it."""
        self._answered_at = self._started_at = time.monotonic()
        try:
            self._thread.start()
        except RuntimeError as error:
            self._die(str(error))

    def stop(self) -> None:
        """Read a last time and stop, within a second also if the driver hangs."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_SECONDS)
            self._hangs = self._thread.is_alive()

    def set_boost_clock(self, boost_clock_hz: float | None) -> None:
        """Compare the GPU's clock with another boost clock from now on."""
        with self._lock:
            self._tally.set_boost_clock(boost_clock_hz)

    def take(self) -> Telemetry:
        """Return what the GPU did since the last call."""
        with self._lock:
            return self._tally.take()

    def take_joules(self) -> int | None:
        """Whole joules since the last call; `None` once some are not known."""
        with self._lock:
            pending = not self._tally.energy_known
            # While the driver is silent nothing is lost yet: its counter goes on, and may be read again.
            lost = self._dead or self._hangs or (self._hardware is not None and not self._has_energy())
            if lost or (pending and (self._stopped.is_set() or self._age() > _SILENCE_SECONDS)):
                self._energy_lost = True
            return None if self._energy_lost else self._tally.take_joules()

    def hardware(self) -> DriverFacts | None:
        """What the driver tells of the GPU, if that is known and was not returned before."""
        with self._lock:
            if self._hardware is None or self._hardware == self._told:
                return None
            self._told = self._hardware
            return self._hardware

    def driver(self) -> str | None:
        """Return the driver's version, once it has answered."""
        with self._lock:
            return None if self._hardware is None else self._hardware.driver

    def troubles(self) -> list[Trouble]:
        """Return the problems since the last call."""
        with self._lock:
            troubles, self._troubles = self._troubles, []
            if self.is_silent() != self._silent:
                self._silent = not self._silent
                silent = f"the NVIDIA driver does not respond; no GPU readings since {self._silent_since()}"
                if self._silent or not self._dead:
                    troubles.append(Trouble(silent if self._silent else "the NVIDIA driver responds again"))
            return troubles

    def _age(self) -> float:
        return time.monotonic() - self._started_at

    def is_silent(self) -> bool:
        """Return whether a driver call has been hanging for long."""
        quiet = time.monotonic() - self._answered_at
        return self._hangs or (not self._dead and quiet > _SILENCE_SECONDS + self._interval_seconds)

    def _silent_since(self) -> str:
        since = time.time() - (time.monotonic() - self._answered_at)
        return datetime.fromtimestamp(since).astimezone().strftime("%H:%M:%S")

    def _has_energy(self) -> bool:
        """Whether energy can be read; what fails for a minute is lost, though a counter might still catch up."""
        sources = [self._questions[what] for what in (ENERGY, POWER) if what in self._questions]
        return any(not each.given_up for each in sources) and not any(each.failing for each in sources)

    def _run(self) -> None:
        try:
            gpu = find_gpu(self._address)
            self._begin(gpu)
            self._sample(gpu)
            while not self._stopped.wait(self._interval_seconds):
                self._sample(gpu)
            self._sample_last()
            if self._tensor is not None:
                self._tensor.close()
        except DriverError as error:
            self._die(str(error))
        except Exception as error:
            _logger.debug("the sampling thread failed", exc_info=True)
            self._die(f"{type(error).__name__}: {error}")

    def _die(self, why: str) -> None:
        with self._lock:
            self._dead = True
            self._troubles.append(Trouble(f"GPU readings ended: {why}"))

    def _begin(self, gpu: FoundGpu) -> None:
        uuid = ask("nvmlDeviceGetUUID", gpu.whole).value
        self.shared_uuid = None if gpu.is_slice or uuid is None else str(uuid)
        most_hz, most_watts = gauges.max_sm_clock_hz(gpu.whole).value, gauges.most_watts(gpu.whole)
        self._tally.most_watts = most_watts
        tensor = gauges.TensorGauge(gpu.handle, gpu.whole)
        self._tensor = tensor
        reads: dict[str, Callable[[], Answer[Any]]] = {
            CLOCK: lambda: gauges.sm_clock_hz(gpu.whole, most_hz),
            REASONS: lambda: gauges.event_reasons(gpu.whole),
            COUNTERS: lambda: gauges.reason_seconds(gpu.whole),
            BUSY: lambda: gauges.utilization(gpu.whole),
            TENSOR: tensor.read,
            ENERGY: lambda: _of_whole(gpu, gauges.energy_joules),
            POWER: lambda: _of_whole(gpu, lambda whole: gauges.power_watts(whole, most_watts)),
        }
        self._questions = {what: _Question(what, read, self._interval_seconds) for what, read in reads.items()}
        if gpu.doubt is not None:
            with self._lock:
                self._troubles.append(Trouble(gpu.doubt, everywhere=True))

    def _sample(self, gpu: FoundGpu) -> None:
        readings = [self._clock_reading(), *self._sum_readings((COUNTERS, ENERGY, TENSOR), at_once=False)]
        hardware = self._describe(gpu) if self._hardware is None else self._hardware
        with self._lock:
            for reading in readings:
                self._tally.add(reading)
            self._hardware = replace(hardware, **self._states())
            self._note_troubles()

    def _sample_last(self) -> None:
        """Read counters one last time, due or not; energy that cannot be read then is unknown up to the end."""
        readings = list(self._sum_readings((COUNTERS, ENERGY), at_once=True))
        with self._lock:
            for reading in readings:
                self._tally.add(reading)
            unread = not any(each.joules is not None or each.power_watts is not None for each in readings)
            self._energy_lost = self._energy_lost or unread or self._tally.energy_stands_still
            self._note_troubles()

    def _clock_reading(self) -> Reading:
        """Read clock, reasons and utilization at one moment."""
        at = time.monotonic()
        clock, bits, utilization = (self._answer(what) for what in (CLOCK, REASONS, BUSY))
        return Reading(
            at=at,
            sm_clock_hz=clock,
            reasons=None if bits is None else gauges.reasons_of(bits),
            idle=bits is not None and gauges.is_idle(bits),
            explained=bits is not None and not gauges.has_no_reason(bits),
            utilization=utilization,
            in_loop=self._in_loop(),
        )

    def _sum_readings(self, what: Iterable[str], *, at_once: bool) -> Iterator[Reading]:
        """Return counter readings, with the time of every answer."""
        fields = {COUNTERS: "reason_seconds", ENERGY: "joules", POWER: "power_watts", TENSOR: "tensor_active"}
        for each in what:
            value = self._answer(each, at_once=at_once)
            name = each
            if each == ENERGY and self._questions[ENERGY].given_up:  # power is only asked for where there is no counter
                value, name = self._answer(POWER, at_once=at_once), POWER
            if value is not None:
                yield Reading(self._answered_at, in_loop=self._in_loop(), **{fields[name]: value})

    def _answer(self, what: str, *, at_once: bool = False) -> Any:
        value = self._questions[what].ask(at_once=at_once)
        self._answered_at = time.monotonic()
        return value

    def _note_troubles(self) -> None:
        questions = self._questions.values()
        slow = max((each.pause_seconds for each in questions), default=0.0)
        if slow and not self._told_slow:
            self._told_slow = True
            took, what = slow / _SLOW_CALL_STRETCH, [each.what for each in questions if each.pause_seconds]
            words = (
                f"the driver takes {1e3 * took:.0f} ms for one reading ({', '.join(what)}), so flopwatch reads it only"
            )
            self._troubles.append(Trouble(f"{words} every {slow:.0f} s", everywhere=True))
        for each in questions:
            self._troubles += each.troubles
            each.troubles = []
        lost = (self._tally.distrust, self._tally.energy_lost and f"energy is unknown: {self._tally.energy_lost}")
        for doubt in lost:
            if doubt and doubt not in self._doubts:
                self._doubts.add(doubt)
                self._troubles.append(Trouble(doubt))

    def _describe(self, gpu: FoundGpu) -> DriverFacts:
        return DriverFacts(
            name=ask("nvmlDeviceGetName", gpu.handle).value or self._address.name,
            uuid=ask("nvmlDeviceGetUUID", gpu.handle).value,
            driver=driver_version(),
            is_slice=gpu.is_slice,
            max_sm_clock_hz=gauges.max_sm_clock_hz(gpu.whole).value,
            power_limit_watts=gauges.power_limit_watts(gpu.whole).value,
        )

    def _states(self) -> dict[str, Any]:
        states = {each.what: each.state for each in self._questions.values() if each.state != _NOT_ASKED}
        source = {ENERGY: "the driver's counter", POWER: "integral of power readings"}
        found = (source[what] for what in (ENERGY, POWER) if states.get(what) == READ)
        return {"readable": states, "energy_source": next(found, None)}


def _of_whole(gpu: FoundGpu, read: Callable[[Any], Answer[float]]) -> Answer[float]:
    if gpu.is_slice:
        return Answer(error="a GPU's energy cannot be divided among its MIG slices", permanent=True)
    return read(gpu.whole)
