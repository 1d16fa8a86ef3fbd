"""Validation, testing and prediction on request: forward FLOPs of their batches, and the MFU that they come to."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any, Literal

from flopwatch import units
from flopwatch.errors import MeasurementError, in_words
from flopwatch.lightning.counting.precision import Precision, precision_of
from flopwatch.lightning.counting.shapes import samples_of
from flopwatch.lightning.counting.watched import WatchedCosts, cost_of
from flopwatch.lightning.counting.watcher import Watcher
from flopwatch.lightning.devices import device_of
from flopwatch.lightning.options import Options
from flopwatch.lightning.output.sinks import LoggerSink
from flopwatch.lightning.timing.device_time import timer_for
from flopwatch.model.architecture import AttentionConvention
from flopwatch.run import rates
from flopwatch.run.counts import add
from flopwatch.run.records import Device

InferenceStage = Literal["validation", "test", "predict"]
_logger = logging.getLogger("flopwatch")
_PATIENCE_SECONDS, _POLL_SECONDS = 1.0, 0.005


@dataclass(frozen=True)
class InferenceResult:
    """What one device did after its first batch, which is warm-up; unknown is `None`."""

    stage: InferenceStage
    batches: int
    flops: int | None
    samples: int | None
    seconds: float
    note: str = ""

    def metrics(self, peak_flops_per_second: float | None) -> dict[str, float]:
        """Return the metrics to log for this pass."""
        values = {
            f"perf/{self.stage}_mfu": rates.utilization(self.flops, self.seconds, 1, peak_flops_per_second),
            f"perf/{self.stage}_device_tflops_per_sec": rates.per_second(
                None if self.flops is None else self.flops / units.SI_PREFIXES["T"], self.seconds
            ),
            f"perf/{self.stage}_device_samples_per_sec": rates.per_second(self.samples, self.seconds),
        }
        return {key: value for key, value in values.items() if value is not None}

    def words(self, peak_flops_per_second: float | None) -> str:
        """Return the same metrics as one line of text."""
        mfu = rates.utilization(self.flops, self.seconds, 1, peak_flops_per_second)
        parts = [f"{self.stage}: {units.format_si(self.flops, 'FLOPs')} forward on one device"]
        parts.append(f"in {units.format_duration(self.seconds)} after the first batch")
        parts.append(f"{units.format_count(rates.per_second(self.samples, self.seconds))} samples/s")
        parts += [f"MFU {units.format_percent(mfu)}"] if mfu is not None else []
        return ", ".join(parts) + (f"; {self.note}" if self.note else "")


class InferenceMeter:
    """Meters one pass over the data: the first batch of every signature is watched, and now and then another one.

    Args:
        stage: Which step of the module runs.
        module: The LightningModule.
        device: The run's `torch.device`.
        attention: The convention to count with.
    """

    def __init__(self, stage: InferenceStage, module: Any, device: Any, attention: AttentionConvention) -> None:
        self._stage: InferenceStage = stage
        self._attention = attention
        self._timer = timer_for(device, time.perf_counter)
        self._watcher = Watcher(module, several_ranks=False)
        self._costs = WatchedCosts()
        self._began: Any = None
        self._batches = 0
        self._flops: int | None = 0
        self._samples: int | None = 0
        self._lost = ""

    def batch_started(self, batch: Any) -> None:
        """Note that a batch is about to run."""
        self._watcher.plan(due=not self._batches, known=self._costs.knows(batch))
        self._watcher.start()

    def batch_ended(self, batch: Any) -> None:
        """Note that a batch has run."""
        self._watcher.stop()
        flops = self._flops_of(batch)
        if self._began is None:
            self._began = self._timer.mark()
            return
        self._batches += 1
        self._flops = add(self._flops, flops)
        self._samples = add(self._samples, samples_of(batch))

    def _flops_of(self, batch: Any) -> int | None:
        try:
            look = self._watcher.take(self._attention)
            if isinstance(look, MeasurementError):
                raise look
            if look is not None:
                self._costs.learn(batch, cost_of(look.counted))
            return self._costs.cost(batch).flops
        except MeasurementError as error:
            self._lost = self._lost or f"no FLOPs: {error}"
            return None

    def release(self) -> None:
        """Stop watching, whatever happens."""
        self._watcher.stop()

    def finish(self) -> InferenceResult | None:
        """The pass is over; `None` if it had but one batch, or the device does not come to its end."""
        if self._began is None or not self._batches:
            return None
        end, deadline = self._timer.mark(), time.monotonic() + _PATIENCE_SECONDS
        while not end.passed():
            if time.monotonic() > deadline:
                return None
            time.sleep(_POLL_SECONDS)
        seconds = self._began.seconds_until(end)
        return InferenceResult(self._stage, self._batches, self._flops, self._samples, seconds, self._lost)


class Inference:
    """The inference passes of a Trainer.

    Args:
        options: What the user asked for.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._meter: InferenceMeter | None = None
        self._device: Device | None = None
        self._failed = False

    def started(self, trainer: Any, module: Any, stage: InferenceStage) -> None:
        """Note that a pass begins."""
        self._meter = None
        if not (self._failed or trainer.sanity_checking or trainer.fast_dev_run):
            self._meter = InferenceMeter(stage, module, trainer.strategy.root_device, self._options.attention)

    def batch_started(self, batch: Any) -> None:
        """Note that a batch is about to run."""
        if self._meter is not None:
            self._meter.batch_started(batch)

    def release(self) -> None:
        """Stop watching after an aborted batch."""
        if self._meter is not None:
            self._meter.release()

    def batch_ended(self, batch: Any) -> None:
        """Note that a batch has run."""
        if self._meter is not None:
            self._meter.batch_ended(batch)

    def ended(self, trainer: Any, module: Any) -> None:
        """End the pass and log it on the first rank."""
        meter, self._meter = self._meter, None
        if meter is None or not trainer.is_global_zero:
            return
        result = meter.finish()
        if result is None:
            return
        peak = self._device_of(trainer, module).peak_flops_per_second
        prefix = f"{self._options.prefix}/" if self._options.prefix else ""
        values = {f"{prefix}{key}": value for key, value in result.metrics(peak).items()}
        LoggerSink(trainer.loggers).log_metrics(values, trainer.fit_loop.epoch_loop._batches_that_stepped)
        _logger.info("%s", result.words(peak))

    def fail(self, error: Exception) -> None:
        """Log an internal error once and stop metering."""
        self.release()
        self._meter = None
        if not self._failed:
            _logger.warning("inference is not metered: %s", in_words(error, 300))
        self._failed = True

    def _device_of(self, trainer: Any, module: Any) -> Device:
        if self._device is None:
            precision = precision_of(trainer, module)
            if self._options.dtype is not None:
                precision = Precision(self._options.dtype)
            self._device = device_of(trainer, precision, self._options.peak_flops_per_second, self._options.chips)
        return self._device
