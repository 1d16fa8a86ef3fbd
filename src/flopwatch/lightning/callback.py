"""`FlopWatch`: checks its arguments, then forwards Lightning's hooks to the session of the running fit."""

from __future__ import annotations

import functools
import importlib.util
import logging
import sys
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flopwatch.errors import in_words
from flopwatch.hardware.chips import Dtype
from flopwatch.hardware.user_chips import UserChips, user_chips
from flopwatch.lightning.after_fit import AfterFit
from flopwatch.lightning.counting.shapes import BatchShape
from flopwatch.lightning.inference import Inference
from flopwatch.lightning.inference_hooks import InferenceHooks
from flopwatch.lightning.last_checkpoint import save_at_the_end
from flopwatch.lightning.messages import show_messages
from flopwatch.lightning.options import OnBudget, Options, budgets_of, folder_of, profile_of
from flopwatch.lightning.ranks.ranks import Ranks
from flopwatch.lightning.session.phase import Phase
from flopwatch.lightning.session.session import Session
from flopwatch.lightning.timing.stopwatch import Stopwatch
from flopwatch.run.records import Status

if TYPE_CHECKING:
    from pytorch_lightning import Callback as _Callback
else:
    _PACKAGES = ("pytorch_lightning", "lightning.pytorch")

    def _callback_base() -> type:
        """Callback of every Lightning that is imported already, so that it is one for each; else of the first found."""
        loaded = [sys.modules[name].Callback for name in _PACKAGES if hasattr(sys.modules.get(name), "Callback")]
        if not loaded:
            found = next((name for name in _PACKAGES if importlib.util.find_spec(name.partition(".")[0])), None)
            if found is None:
                raise ImportError("FlopWatch needs Lightning; run `pip install pytorch-lightning`")
            loaded = [importlib.import_module(found).Callback]
        return loaded[0] if len(loaded) == 1 else type("_Callback", tuple(loaded), {})

    _Callback = _callback_base()

_logger = logging.getLogger("flopwatch")


def _survives(hook: Callable[..., None]) -> Callable[..., None]:
    """Keep flopwatch's errors away from training: the first one is logged and ends the session."""

    @functools.wraps(hook)
    def guarded(self: FlopWatch, *arguments: Any, **named: Any) -> None:
        if self._idle:
            return
        try:
            hook(self, *arguments, **named)
        except Exception as error:
            self._give_up(hook.__name__, error)

    return guarded


class FlopWatch(AfterFit, InferenceHooks, _Callback):
    """Logs live MFU, FLOPs and time to a budget, and writes a report at the end.

    Add it to `Trainer(callbacks=[FlopWatch()])`. Numbers go to every logger of the Trainer about every ten seconds, to
    the progress bar, and to a run file, from which the report is made; after the fit, `report` and `mfu` hold it.
    What is unknown is left out, with one message that says why. Once training has begun, flopwatch cannot stop it.

    Args:
        budget: What the run may use: "1.4T tokens", "3.14e23 FLOPs", "50K steps", "3 epochs", "2 days" (time of the
            run's processes, not the time between restarts), "500 device-hours", "50 kWh", "$20k", "chinchilla" (20
            tokens per parameter), or several of them. By default the Trainer's own `max_steps`, `max_epochs` and
            `max_time`.
        on_budget: What to do when a budget is used up: "warn", "stop" (all ranks at the end of the same optimizer step,
            with a checkpoint if the Trainer saves any), or a function that the first rank calls with the Trainer and
            the budget's text.
        alert_below_mfu: Warn, in the log and by a W&B alert, when MFU has been below this (0 to 1) for
            `alert_after_seconds`.
        alert_after_seconds: How long MFU must be low, or heat or the server's power brake throttle the GPUs, before
            a warning.
        config: The model's config (Hugging Face config, mapping, dataclass or path), if it is not on the module.
        peak_flops_per_second: Peak of one device in FLOP/s, or "measured" for a short benchmark at the start. By
            default the datasheet's dense value for the device and precision.
        dtype: Precision of the run's matrix multiplications ("bf16", "fp8", ...), if it cannot be detected.
        chips: Chips to add to the table of peaks, or to replace its rows: a CSV file like
            `flopwatch/data/chips.csv`, or `flopwatch.hardware.chips.Chip`s.
        attention: "causal" counts unmasked pairs only, "full" all pairs.
        flops_per_batch: Function from a batch to its training FLOPs on this rank; it takes precedence over every other
            count. A method of that name on the LightningModule does the same.
        batch_shape: Function from a batch to (sequences, tokens per sequence), or to a `flopwatch.batch.Batch`, for
            batches without plain token ids.
        optimizer_flops: FLOPs of one optimizer step on one device, where the optimizer itself multiplies matrices (see
            `flopwatch.model.backward.newton_schulz_flops` for Muon); they are hardware FLOPs, not model FLOPs.
        every_n_seconds: How long a window lasts.
        every_n_steps: End a window at every multiple of this many optimizer steps instead.
        usd_per_device_hour: Price of one device for one hour, for `budget/usd`.
        kg_co2_per_kwh: The grid's emissions per kWh (0.3 for 300 g), for `gpu/kg_co2`.
        loss: Name of a metric that the module logs, to take as the training loss at a window's end; by default the mean
            of what `training_step` returns.
        val_loss: Name of the logged validation loss; by default "val_loss".
        profile: Whether to profile three steps with `torch.profiler` after the tenth, to say in the report where a
            step's time goes; the trace is written beside the run file, for Perfetto and `flopwatch trace`.
        profile_every: Profile again and again, such as every "1 hour" or "1000 steps".
        profile_ranks: Whose steps to profile; the report reads those of the first rank.
        dirpath: Folder of the run file and the report; by default a new one in `default_root_dir/flopwatch`.
        report: Whether to write `report.html` at the end.
        prefix: Word before every logged key.
        inference: Whether to meter validation, `trainer.validate`, `test` and `predict`, too: FLOPs, samples, MFU.

    Raises:
        ArgumentError: If an argument cannot be used.
        QuantityError: If a budget cannot be read.
        ConfigError: If `config` cannot be counted.

    Example::

        trainer = Trainer(callbacks=[FlopWatch(budget="1.4T tokens")], logger=WandbLogger())
    """

    def __init__(
        self,
        budget: str | list[str] | None = None,
        *,
        on_budget: OnBudget = "warn",
        alert_below_mfu: float | None = None,
        alert_after_seconds: float = 600.0,
        config: Any | None = None,
        peak_flops_per_second: float | Literal["measured"] | None = None,
        dtype: Dtype | None = None,
        chips: UserChips = None,
        attention: Literal["causal", "full"] = "causal",
        batch_shape: BatchShape | None = None,
        flops_per_batch: Callable[[Any], int] | None = None,
        optimizer_flops: int | None = None,
        every_n_seconds: float = 10.0,
        every_n_steps: int | None = None,
        usd_per_device_hour: float | None = None,
        kg_co2_per_kwh: float | None = None,
        loss: str | None = None,
        val_loss: str | None = None,
        profile: bool = False,
        profile_every: str | None = None,
        profile_ranks: Sequence[int] = (0,),
        dirpath: str | Path | None = None,
        report: bool = True,
        prefix: str = "",
        inference: bool = False,
    ) -> None:
        super().__init__()
        self._options = Options(
            budgets=budgets_of(budget),
            on_budget=on_budget,
            alert_below_mfu=alert_below_mfu,
            alert_after_seconds=alert_after_seconds,
            config=config,
            peak_flops_per_second=peak_flops_per_second,
            attention=attention,
            batch_shape=batch_shape,
            flops_per_batch=flops_per_batch,
            every_n_seconds=every_n_seconds,
            every_n_steps=every_n_steps,
            usd_per_device_hour=usd_per_device_hour,
            kg_co2_per_kwh=kg_co2_per_kwh,
            loss=loss,
            val_loss=val_loss,
            profile=profile_of(profile, profile_every, profile_ranks),
            dirpath=folder_of(dirpath),
            report=report,
            prefix=prefix,
            optimizer_flops=optimizer_flops,
            chips=user_chips(chips),
            dtype=dtype,
            inference=inference,
        )
        self._inference = Inference(self._options) if inference else None
        self.from_environment = False
        self._stopwatch: Stopwatch | None = None
        self._session: Session | None = None
        self._state: dict[str, Any] = {}
        self._idle, self._failed = True, False
        self._trainer: Callable[[], Any] = _nothing

    @property
    def state_key(self) -> str:
        """Name of the state in checkpoints; the plugin's has its own, so that it never clashes with the script's."""
        return "FlopWatch (environment)" if self.from_environment else "FlopWatch"

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Start the clock of a fit; a second fit of the same Trainer continues the first one's totals."""
        yields = self._yields_to_another(trainer)
        if yields:
            self._inference = None
            if self.from_environment and stage == "fit":
                show_messages()
                _logger.warning(
                    "ignoring the environment variable FLOPWATCH: the FlopWatch in the script takes precedence"
                )
        elif self._inference is not None:
            show_messages()
        self._idle = stage != "fit" or bool(trainer.fast_dev_run) or yields
        if stage == "fit" and trainer.fast_dev_run and not yields:
            show_messages()
            _logger.info("nothing is measured or written with fast_dev_run; for a short try, pass max_steps=20")
        if self._idle:
            return
        show_messages()
        if self._trainer() is trainer:
            self._state = self.state_dict()
        elif self._trainer is not _nothing:
            self._state = {}
        self._session, self._failed, self._report = None, False, None
        self._stopwatch, self._trainer = Stopwatch(), weakref.ref(trainer)
        # First in line, so that a checkpoint that another callback saves at a batch's end holds that batch.
        trainer.callbacks = [self, *(each for each in trainer.callbacks if each is not self)]

    @_survives
    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Find the ranks, the device and the model."""
        assert self._stopwatch is not None
        ranks = Ranks(trainer.strategy, trainer.global_rank, trainer.world_size)
        try:
            self._session = Session(self._options, trainer, pl_module, ranks, self._stopwatch)
        except Exception:
            ranks.leave()
            raise

    @_survives
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Go on from a checkpoint, if there is one, and open the files."""
        self._live.begin(self._state)

    @_survives
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Note that an epoch begins."""
        self._live.epoch_started()

    @_survives
    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Note that an epoch has ended."""
        self._live.epoch_ended()

    @_survives
    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Note that training time begins."""
        self._live.batch_started(batch)

    @_survives
    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        """Note that a forward pass has ended."""
        self._live.forward_ended(loss)

    @_survives
    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        """Note that a backward pass has ended."""
        self._live.backward_ended()

    @_survives
    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count the batch; in automatic optimization no outputs mean that it was skipped."""
        self._live.batch_ended(batch, outputs, skipped=not outputs and pl_module.automatic_optimization)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Note that validation begins."""
        self._enter_validation(trainer)
        self._infer(lambda each: each.started(trainer, pl_module, "validation"))

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Note that validation ends."""
        self._infer(lambda each: each.ended(trainer, pl_module))
        self._leave_validation(trainer)

    @_survives
    def _enter_validation(self, trainer: Any) -> None:
        if not trainer.sanity_checking:
            self._live.enter("validation")

    @_survives
    def _leave_validation(self, trainer: Any) -> None:
        if not trainer.sanity_checking:
            self._live.leave("validation")

    @_survives
    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the books and write the report; where a budget ended the run, save it first."""
        if self._live.phase is Phase.STOPPING:
            self._live.enter("checkpoint")
            try:
                path = save_at_the_end(trainer)
            except Exception as error:
                _logger.warning("cannot save a checkpoint at the budget: %s", in_words(error))
            else:
                if path is not None and trainer.is_global_zero:
                    _logger.info("saved %s", path)
            self._live.leave("checkpoint")
        self._end("finished")

    @_survives
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Close the books and write the report of what was done."""
        self._infer(lambda each: each.release())
        stopped = isinstance(exception, KeyboardInterrupt) or "SIGTERM" in type(exception).__name__
        self._end("interrupted" if stopped else "failed")

    @_survives
    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Let go where training never began, as with `max_steps=0`."""
        self._end("finished")

    def _end(self, status: Status) -> None:
        """Finish the session and keep nothing of it but its state."""
        self._idle = True
        session, self._session = self._session, None
        if session is None:
            return
        try:
            self._report = session.finish(status)
        except Exception:
            self._session = session
            raise
        if session.has_totals:
            self._state = session.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """Return the run's totals for a resumed run; empty after a flopwatch error, which makes them unknown."""
        if self._failed:
            return {}
        if self._session is None or not self._session.has_totals:
            return dict(self._state)
        try:
            return self._session.state_dict()
        except Exception as error:
            self._give_up("state_dict", error)
            return self.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a checkpoint's totals until training starts."""
        self._state = dict(state_dict)

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Take the state of the other `FlopWatch`, where a run was started with one and is resumed with the other."""
        states = checkpoint.get("callbacks", {})
        if self.state_key not in states:
            other = next((state for key, state in states.items() if str(key).startswith("FlopWatch")), None)
            if other:
                self.load_state_dict(other)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and other processes: arguments and totals, nothing that runs."""
        return {**self.__dict__, "_session": None, "_stopwatch": None, "_trainer": _nothing, "_idle": True}

    @property
    def _live(self) -> Session:
        assert self._session is not None
        return self._session

    def _give_up(self, hook: str, error: Exception) -> None:
        _logger.warning("flopwatch stopped measuring, training continues: %s (in %s)", in_words(error, 300), hook)
        _logger.debug("traceback", exc_info=error)
        self._idle = self._failed = True
        try:
            if self._session is not None:
                self._session.abandon()
        except Exception:
            _logger.debug("cleanup failed, too", exc_info=True)

    def _yields_to_another(self, trainer: Any) -> bool:
        """Whether a second one is here: the plugin's goes, and of the script's own only the first one works."""
        watches = [each for each in trainer.callbacks if isinstance(each, FlopWatch)]
        chosen = next((each for each in watches if not each.from_environment), watches[0] if watches else self)
        return chosen is not self


def _nothing() -> None:
    """Stand in for a weak reference whose object is gone; return `None`."""
