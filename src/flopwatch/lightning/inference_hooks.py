"""Lightning's hooks of validation, test and prediction, passed on to what meters them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flopwatch.lightning.inference import Inference


class InferenceHooks:
    """Tells `_inference`, where there is one, what happens; its errors stay away from the run."""

    _inference: Inference | None

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, batch: Any, *_: Any) -> None:
        """Note that a batch of validation begins."""
        self._infer(lambda each: each.batch_started(batch))

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        """Note a batch of validation."""
        self._infer(lambda each: each.batch_ended(batch))

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """Note that testing begins."""
        self._infer(lambda each: each.started(trainer, pl_module, "test"))

    def on_test_batch_start(self, trainer: Any, pl_module: Any, batch: Any, *_: Any) -> None:
        """Note that a batch of testing begins."""
        self._infer(lambda each: each.batch_started(batch))

    def on_test_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        """Note a batch of testing."""
        self._infer(lambda each: each.batch_ended(batch))

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """Note that testing ends."""
        self._infer(lambda each: each.ended(trainer, pl_module))

    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        """Note that prediction begins."""
        self._infer(lambda each: each.started(trainer, pl_module, "predict"))

    def on_predict_batch_start(self, trainer: Any, pl_module: Any, batch: Any, *_: Any) -> None:
        """Note that a batch of prediction begins."""
        self._infer(lambda each: each.batch_started(batch))

    def on_predict_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        """Note a batch of prediction."""
        self._infer(lambda each: each.batch_ended(batch))

    def on_predict_end(self, trainer: Any, pl_module: Any) -> None:
        """Note that prediction ends."""
        self._infer(lambda each: each.ended(trainer, pl_module))

    def _infer(self, tell: Callable[[Inference], None]) -> None:
        """Tell what meters inference, where there is one; its errors stay away from the run."""
        if self._inference is None:
            return
        try:
            tell(self._inference)
        except Exception as error:
            self._inference.fail(error)
