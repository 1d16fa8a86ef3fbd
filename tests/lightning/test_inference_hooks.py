"""An error of what meters inference stays away from the run, in every hook."""

import pytest

from flopwatch.lightning.inference_hooks import InferenceHooks

HOOKS = {
    "on_validation_batch_start": ("trainer", "module", "batch", 0),
    "on_validation_batch_end": ("trainer", "module", "outputs", "batch", 0),
    "on_test_start": ("trainer", "module"),
    "on_test_batch_start": ("trainer", "module", "batch", 0),
    "on_test_batch_end": ("trainer", "module", "outputs", "batch", 0),
    "on_test_end": ("trainer", "module"),
    "on_predict_start": ("trainer", "module"),
    "on_predict_batch_start": ("trainer", "module", "batch", 0),
    "on_predict_batch_end": ("trainer", "module", "outputs", "batch", 0),
    "on_predict_end": ("trainer", "module"),
}


class Broken:
    """Fails at everything that it is told."""

    def __init__(self):
        self.failures = []

    def fail(self, error):
        self.failures.append(error)

    def __getattr__(self, name):
        raise RuntimeError(f"no {name}")


@pytest.mark.parametrize("hook", HOOKS)
def test_an_error_ends_the_metering_alone(hook):
    hooks = InferenceHooks()
    hooks._inference = broken = Broken()
    getattr(hooks, hook)(*HOOKS[hook])
    assert [str(each)[:3] for each in broken.failures] == ["no "]


def test_every_hook_is_tried():
    assert {name for name in vars(InferenceHooks) if name.startswith("on_")} == set(HOOKS)
