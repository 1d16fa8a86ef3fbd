"""What a GPU did over a stretch of time, from what its driver said at moments. It knows no driver and no clock."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

REASONS: Mapping[str, str] = MappingProxyType(
    {
        "power_cap": "power cap",
        "software_thermal": "temperature, by the driver",
        "hardware_thermal": "temperature, by the hardware",
        "hardware_power_brake": "power brake of the server",
        "hardware_slowdown": "hardware slowdown",
        "sync_boost": "sync boost with other GPUs",
    }
)
FEWEST_SAMPLES = 3
_CLOCK_STEP_HZ = 15e6
_BUSY = 0.5
_LONGEST_POWER_GAP_SECONDS = 10.0
# A counter of 32 bits of millijoules, as old drivers have, starts again here; more than a GPU can draw is no wrap.
_WRAP_JOULES = 2**32 / 1e3
_LEAST_WATTS, _MOST_WATTS = 1.0, 1e4
_COUNTER_PACE_SECONDS = 1.0  # the energy counter moves by steps
_STILL_SECONDS = 5.0
_JUMPED = "the energy counter went backwards, or rose by more than the GPU can draw"
_MOST_SHARE, _IMPOSSIBLE_SHARE = 1.05, 10.0  # of a stretch too short for the driver's pace, and in a wrong unit
_NEVER_COUNTED = "hardware_slowdown"  # its counted causes are the two hardware ones
_SHARE_SEEN, _SHARE_DENIED = 0.5, 0.01


@dataclass(frozen=True)
class DriverFacts:
    """What the driver tells of a GPU; as in `run.records.Hardware`."""

    name: str
    uuid: str | None = None
    driver: str | None = None
    is_slice: bool = False
    max_sm_clock_hz: float | None = None
    power_limit_watts: float | None = None
    energy_source: str | None = None
    readable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """What the driver said at one moment; what it did not say is `None`.

    Attributes:
        at: Monotonic seconds.
        sm_clock_hz: SM clock.
        reasons: What holds the clock down, of `REASONS`.
        idle: Whether the clock is low since there is nothing to do.
        explained: Whether the driver names anything that sets the clock, a setting of the user's included.
        reason_seconds: Seconds since some start in which each reason held the clock down.
        joules: Energy since some start.
        power_watts: Power, for drivers without an energy counter.
        utilization: Share of the last moments in which a kernel ran.
        tensor_active: Share of cycles since the last reading in which tensor cores worked.
        in_loop: Whether the process was in its training loop, and not at validation or a checkpoint.
    """

    at: float
    sm_clock_hz: float | None = None
    reasons: frozenset[str] | None = None
    idle: bool = False
    explained: bool = False
    reason_seconds: Mapping[str, float] | None = None
    joules: float | None = None
    power_watts: float | None = None
    utilization: float | None = None
    tensor_active: float | None = None
    in_loop: bool = True

    @property
    def busy(self) -> bool | None:
        """Whether the GPU has something to do; `None` where nothing tells."""
        if self.idle:
            return False
        return None if self.utilization is None else self.utilization >= _BUSY


@dataclass(frozen=True)
class Telemetry:
    """What a GPU did over some time; unknown values are `None`.

    Attributes:
        clock_samples: Readings behind the clock.
        sm_clock_hz: Mean SM clock in the training loop while the GPU was not idle.
        sm_clock_hz_min: Lowest one of these.
        throttled: Share of time by what held the clock down.
        throttled_frac: Share of time in which anything did.
        throttle_counted: Whether these are from the driver's counters of time, not from samples.
        slow_clock_frac: Share of busy readings below the datasheet's clock for which the driver gave no reason.
        power_watts: Mean power.
        tensor_active: Share of cycles in the training loop in which tensor cores worked.
    """

    clock_samples: int = 0
    sm_clock_hz: float | None = None
    sm_clock_hz_min: float | None = None
    throttled: Mapping[str, float] | None = None
    throttled_frac: float | None = None
    throttle_counted: bool = False
    slow_clock_frac: float | None = None
    power_watts: float | None = None
    tensor_active: float | None = None


@dataclass
class _Stretch:
    """Sums since the last `take`."""

    clocks: list[float] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    with_reasons: int = 0
    with_any: int = 0
    busy: int = 0
    slow: int = 0
    counted: Counter[str] = field(default_factory=Counter)
    counted_seconds: float = 0.0
    joules: float = 0.0
    energy_seconds: float = 0.0
    tensor_seconds: float = 0.0
    tensor_known_seconds: float = 0.0


class Tally:
    """Adds readings up to what a GPU did.

    Args:
        boost_clock_hz: The datasheet's clock, below which a busy GPU is slow.
    """

    def __init__(self, boost_clock_hz: float | None = None) -> None:
        self._boost_clock_hz = boost_clock_hz
        self._stretch = _Stretch()
        self._last_tensor: Reading | None = None
        self._last_counters: tuple[float, Mapping[str, float]] | None = None
        self._last_energy: tuple[float, float] | None = None
        self._last_power: tuple[float, float] | None = None
        self._unbooked_joules = 0.0
        self._still_seconds = 0.0
        self._at_work = False
        self.most_watts = _MOST_WATTS
        self.energy_known = False
        self.energy_lost: str | None = None
        self.distrust: str | None = None

    def set_boost_clock(self, boost_clock_hz: float | None) -> None:
        """Hold the GPU against another clock from now on, as for another precision."""
        if boost_clock_hz != self._boost_clock_hz:
            self._boost_clock_hz = boost_clock_hz
            self._stretch.busy = self._stretch.slow = 0

    def add(self, reading: Reading) -> None:
        """Add a reading; each time-like quantity goes from the last reading that had it to this one."""
        self._add_clock(reading)
        self._add_reasons(reading)
        self._add_counters(reading)
        self._add_energy(reading)
        self._add_tensor(reading)

    def take(self) -> Telemetry:
        """Return everything since the last call."""
        stretch, self._stretch = self._stretch, _Stretch()
        throttled, counted = self._shares(stretch)
        return Telemetry(
            clock_samples=len(stretch.clocks),
            sm_clock_hz=sum(stretch.clocks) / len(stretch.clocks) if stretch.clocks else None,
            sm_clock_hz_min=min(stretch.clocks, default=None),
            throttled=throttled,
            throttled_frac=_together(throttled, stretch, counted),
            throttle_counted=counted,
            slow_clock_frac=stretch.slow / stretch.busy if stretch.busy >= FEWEST_SAMPLES else None,
            power_watts=_ratio(stretch.joules, stretch.energy_seconds),
            tensor_active=_ratio(stretch.tensor_seconds, stretch.tensor_known_seconds),
        )

    def take_joules(self) -> int | None:
        """Whole joules since the last call, the rest kept for the next; `None` once some of the energy is not known."""
        if self.energy_lost is not None:
            return None
        whole = int(self._unbooked_joules)
        self._unbooked_joules -= whole
        return whole

    def _add_clock(self, reading: Reading) -> None:
        """Where the driver does not say why the clock is as it is, only utilization tells idling from training."""
        if reading.busy is None and reading.reasons is None:
            return
        self._at_work = reading.busy or (reading.reasons is not None and not reading.idle)
        if self._at_work and reading.sm_clock_hz is not None and reading.in_loop:
            self._stretch.clocks.append(reading.sm_clock_hz)

    def _add_reasons(self, reading: Reading) -> None:
        if reading.reasons is None:
            return
        self._stretch.with_reasons += 1
        self._stretch.with_any += bool(reading.reasons)
        self._stretch.reasons.update(reading.reasons)
        if reading.busy and reading.in_loop and reading.sm_clock_hz is not None and self._boost_clock_hz is not None:
            self._stretch.busy += 1
            slow = reading.sm_clock_hz < self._boost_clock_hz - _CLOCK_STEP_HZ
            self._stretch.slow += slow and not reading.explained

    def _add_counters(self, reading: Reading) -> None:
        if reading.reason_seconds is None:
            return
        if self._last_counters is not None:
            before_at, before = self._last_counters
            self._stretch.counted_seconds += reading.at - before_at
            for reason, seconds in reading.reason_seconds.items():
                self._stretch.counted[reason] += seconds - before.get(reason, seconds)  # type: ignore[assignment]
        self._last_counters = (reading.at, reading.reason_seconds)

    def _add_tensor(self, reading: Reading) -> None:
        if reading.tensor_active is None:
            return
        last, self._last_tensor = self._last_tensor, reading
        if last is not None and last.in_loop and reading.in_loop:
            seconds = reading.at - last.at
            self._stretch.tensor_seconds += reading.tensor_active * seconds
            self._stretch.tensor_known_seconds += seconds

    def _add_energy(self, reading: Reading) -> None:
        if reading.joules is not None:
            if self._last_energy is not None:
                before_at, before = self._last_energy
                seconds = reading.at - before_at
                least = _LEAST_WATTS * seconds if self._at_work else 0.0
                if reading.joules == before or 0 <= reading.joules - before < least:
                    self._stand_still(seconds)
                    return
                most = self.most_watts * (seconds + _COUNTER_PACE_SECONDS)
                self._book(_drawn(before, reading.joules, most), seconds, _JUMPED)
            self._last_energy, self._still_seconds = (reading.at, reading.joules), 0.0
        elif reading.power_watts is not None:
            if self._last_power is not None:
                before_at, watts = self._last_power
                seconds = reading.at - before_at
                drawn = (watts + reading.power_watts) / 2 * seconds
                known = drawn if seconds <= _LONGEST_POWER_GAP_SECONDS else None
                self._book(known, seconds, "power readings had too long a gap")
            self._last_power = (reading.at, reading.power_watts)

    @property
    def energy_stands_still(self) -> bool:
        """Whether the counter lags behind a GPU at work by more than its pace: it stands, or creeps."""
        return self._still_seconds > _COUNTER_PACE_SECONDS

    def _stand_still(self, seconds: float) -> None:
        """Nothing is booked while the counter stands; of a GPU at work it is no counter after a while."""
        self._still_seconds = seconds if self._at_work else 0.0
        if self._still_seconds >= _STILL_SECONDS:
            self.energy_lost = "the energy counter stands still while the GPU works"

    def _book(self, joules: float | None, seconds: float, otherwise: str) -> None:
        if joules is None:
            self.energy_lost = self.energy_lost or otherwise
            return
        self.energy_known = True
        self._unbooked_joules += joules
        self._stretch.joules += joules
        self._stretch.energy_seconds += seconds

    def _shares(self, stretch: _Stretch) -> tuple[dict[str, float] | None, bool]:
        """Share of time by reason: by the counters where there are some that can be believed, else by the samples."""
        sampled = None
        if stretch.with_reasons >= FEWEST_SAMPLES:
            sampled = {reason: stretch.reasons[reason] / stretch.with_reasons for reason in REASONS}
        if not stretch.counted_seconds or self.distrust is not None:
            return sampled, False
        counted = {reason: stretch.counted[reason] / stretch.counted_seconds for reason in stretch.counted}
        self.distrust = _contradiction(counted, sampled)
        if self.distrust is not None or not all(0 <= share <= _MOST_SHARE for share in counted.values()):
            return sampled, False
        uncounted = set(REASONS) - set(counted) - {_NEVER_COUNTED}
        if sampled is None and uncounted:
            return None, False
        counted = {reason: min(share, 1.0) for reason, share in counted.items()}
        return {**(sampled or {_NEVER_COUNTED: 0.0}), **counted}, True


def _drawn(before: float, now: float, most: float) -> float | None:
    """Energy between two readings of the counter, which may have started again at 32 bits; `None` if it cannot be."""
    wraps = now < before < _WRAP_JOULES
    drawn = now - before + (_WRAP_JOULES if wraps else 0.0)
    return drawn if 0 <= drawn <= most else None


def _contradiction(counted: Mapping[str, float], sampled: Mapping[str, float] | None) -> str | None:
    """Return why the counters cannot be in the unit that the header states."""
    for reason, share in counted.items():
        if not 0 <= share <= _IMPOSSIBLE_SHARE:
            return f"the driver's counter of {REASONS[reason]} counted {share:.3g} seconds per second"
        if sampled is not None and sampled[reason] >= _SHARE_SEEN and share < _SHARE_DENIED:
            return f"the driver's counter of {REASONS[reason]} stands still while the driver reports it"
    return None


def _together(shares: Mapping[str, float] | None, stretch: _Stretch, counted: bool) -> float | None:
    """Share of time with any reason. Counters say at least and at most how much that is, samples how they overlap."""
    if shares is None:
        return None
    sampled = stretch.with_any / stretch.with_reasons if stretch.with_reasons else None
    if not counted:
        return sampled
    least, most = max(shares.values()), min(sum(shares.values()), 1.0)
    if sum(share > 0 for share in shares.values()) <= 1:
        return least
    return None if sampled is None else min(max(sampled, least), most)


def _ratio(amount: float, seconds: float) -> float | None:
    return amount / seconds if seconds else None


def over_devices(each: Sequence[Telemetry], watts: Sequence[float | None]) -> Telemetry:
    """What the devices of a run did together: means, the lowest clock, the power of all; unknown where one's is.

    Args:
        each: What each rank says of its device.
        watts: Mean power of every device, each once.
    """
    shares = [telemetry.throttled or {} for telemetry in each]
    throttled = {reason: _mean([share.get(reason) for share in shares]) for reason in REASONS}
    known = {reason: share for reason, share in throttled.items() if share is not None}
    lowest = [telemetry.sm_clock_hz_min for telemetry in each]
    return Telemetry(
        clock_samples=min(telemetry.clock_samples for telemetry in each),
        sm_clock_hz=_mean([telemetry.sm_clock_hz for telemetry in each]),
        sm_clock_hz_min=None if None in lowest else min(clock for clock in lowest if clock is not None),
        throttled=known if len(known) == len(REASONS) else None,
        throttled_frac=_mean([telemetry.throttled_frac for telemetry in each]),
        throttle_counted=all(telemetry.throttle_counted for telemetry in each),
        slow_clock_frac=_mean([telemetry.slow_clock_frac for telemetry in each]),
        power_watts=None if None in watts else math.fsum(power for power in watts if power is not None),
        tensor_active=_mean([telemetry.tensor_active for telemetry in each]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if len(known) == len(values) else None
