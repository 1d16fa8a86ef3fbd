"""FLOPs of any module, measured by running a copy of it on the meta device. The only user of dispatch modes.

    >>> from torch import nn
    >>> import torch
    >>> measure(nn.Linear(4, 6), torch.zeros(2, 4)).forward_flops
    96

Counted are the operators that PyTorch dispatches: matrix products, convolutions, attention. What runs outside of its
dispatcher (Triton kernels launched eagerly, code of other libraries behind `autograd.Function`) cannot be seen;
`register` a formula for operators of your own.
"""

from __future__ import annotations

import contextlib
import io
import logging
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from flopwatch.errors import MeasurementError
from flopwatch.measure.counter import CausalAttention, FlopCounter, is_heavy
from flopwatch.measure.formulas import register
from flopwatch.measure.lightning_step import detach_from_lightning, parameters_of
from flopwatch.measure.meta import META, meta_batch, meta_copy
from flopwatch.measure.results import Measurement, Uncounted
from flopwatch.model.architecture import AttentionConvention

# Not 0: what a training step does every so many batches, such as saving a picture, is not done while measuring.
_logger = logging.getLogger("flopwatch")
_LIBRARIES = tuple(
    f"site-packages/{each}/" for each in ("torch", "transformers", "peft", "pytorch_lightning", "lightning")
)
_INDEX = 1
_WAITS = (
    "barrier",
    "monitored_barrier",
    "all_gather_object",
    "gather_object",
    "broadcast_object_list",
    "scatter_object_list",
    "send_object_list",
    "recv_object_list",
)
__all__ = [
    "Measurement",
    "Uncounted",
    "measure",
    "measure_training_step",
    "meta_batch",
    "register",
]


def measure(
    module: nn.Module,
    *inputs: Any,
    attention: AttentionConvention = "full",
    dropped: Mapping[int, Sequence[int]] | None = None,
    **named_inputs: Any,
) -> Measurement:
    """Measure forward and backward of a module; only the shapes of the inputs matter.

    Args:
        module: Any module; it is copied, not run.
        inputs: Positional inputs of its forward.
        attention: "full" counts all pairs; "causal" leaves out what `scaled_dot_product_attention(is_causal=True)`
            masks. Masks given as tensors and other implementations of attention are counted in full either way.
        dropped: By the id of a module list in it, the layers that the copy goes without.
        named_inputs: Named inputs of its forward.

    Raises:
        MeasurementError: If the module cannot be copied or run without data; the text says where.
    """
    batch, named = meta_batch(list(inputs)), meta_batch(dict(named_inputs))

    def step(duplicate: nn.Module) -> None:
        outputs = duplicate.train()(*batch, **named)
        _backward(_loss(outputs))

    return _measured(module, step, attention, dropped)


def measure_training_step(
    module: nn.Module,
    batch: Any,
    *,
    optimizers: Sequence[Any] = (),
    attention: AttentionConvention = "full",
) -> Measurement:
    """Measure a LightningModule's `training_step` on a batch, with its backward.

    Args:
        module: A LightningModule, or anything with a `training_step(batch, batch_idx)`. It is copied, not run; the copy
            has no Trainer, and what it logs goes nowhere.
        batch: A batch; only its shapes matter.
        optimizers: Its optimizers, for manual optimization; only which parameters they hold is looked at.
        attention: As in `measure`.

    Raises:
        MeasurementError: If the step cannot be run without data; the text says where.
    """
    made, held = meta_batch(batch), parameters_of(module, optimizers)

    def step(duplicate: Any) -> None:
        detach_from_lightning(duplicate, held)
        outputs = duplicate.training_step(*([made, _INDEX] if _takes_index(duplicate) else [made]))
        if getattr(duplicate, "automatic_optimization", True):
            loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
            if not isinstance(loss, torch.Tensor):
                raise MeasurementError("training_step returned no loss when it was measured; this batch may be skipped")
            _backward(loss)

    return _measured(module, step, attention)


def _measured(
    module: nn.Module,
    step: Callable[[nn.Module], None],
    attention: AttentionConvention,
    dropped: Mapping[int, Sequence[int]] | None = None,
) -> Measurement:
    try:
        duplicate = meta_copy(module, dropped)
    except Exception as error:
        raise MeasurementError(f"{type(module).__name__} cannot be copied for measuring: {_short(error)}") from error
    _prefer_countable_experts(duplicate)
    counter = FlopCounter(duplicate)
    causal = CausalAttention(counter)
    try:
        with _undisturbed(), META, counter.attribute(duplicate), causal, counter:
            step(duplicate)
    except MeasurementError:
        raise
    except (Exception, SystemExit) as error:
        raise MeasurementError(f"{type(module).__name__} cannot be run without data: {_short(error)}") from error
    left_out = causal.masked if attention == "causal" else {}
    if left_out and causal.without_gradients and counter.flops["recomputed"]:
        raise MeasurementError(
            "causal attention in reentrant checkpoints cannot be seen; use_reentrant=False or attention='full' helps"
        )
    if attention == "causal":
        counter.by_module.subtract(causal.masked_by_module)
        counter.assumptions.add(
            "causal only where PyTorch's attention is told so; masks given as tensors count in full"
        )
    return Measurement(
        forward_flops=counter.flops["forward"] - left_out.get("forward", 0),
        backward_flops=counter.flops["backward"] - left_out.get("backward", 0),
        recomputed_flops=None if left_out and counter.flops["recomputed"] else counter.flops["recomputed"],
        attention=attention,
        by_module=dict(counter.by_module),
        uncounted=tuple(
            Uncounted(name, calls, tuple(sorted(counter.uncounted_parameters[name])), is_heavy(name))
            for name, calls in sorted(counter.uncounted.items())
        ),
        assumptions=tuple(sorted(counter.assumptions)),
    )


def _short(error: BaseException) -> str:
    """An error in one line for files; what the user's own code says in it may be secret, and goes to the log alone."""
    text = str(error).strip().split("\n")[0][:200]
    frame, where, name = error.__traceback__, "", ""
    while frame is not None:
        name = frame.tb_frame.f_code.co_filename
        if not _is_a_librarys(name):
            where = f" at {name.rsplit('/', 1)[-1]}:{frame.tb_lineno}"
        frame = frame.tb_next
    if _is_a_librarys(name):
        return f"{type(error).__name__}{where}: {text}"
    _logger.info("a run without data was tried, and ended with %s%s: %s", type(error).__name__, where, text)
    return f"{type(error).__name__}{where}"


def _is_a_librarys(file_name: str) -> bool:
    return any(each in file_name for each in (*_LIBRARIES, "flopwatch/measure/"))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep the random states as they are, and keep warnings and prints about a run without data away."""
    numpy: Any = sys.modules.get("numpy")
    states = torch.random.get_rng_state(), random.getstate(), numpy.random.get_state() if numpy else None
    quiet = contextlib.redirect_stdout(io.StringIO())
    try:
        with warnings.catch_warnings(), torch.enable_grad(), quiet, _no_waiting_for_other_ranks():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.random.set_rng_state(states[0])
        random.setstate(states[1])
        if numpy:
            numpy.random.set_state(states[2])


@contextmanager
def _no_waiting_for_other_ranks() -> Iterator[None]:
    """Refuse what other ranks would have to answer; collectives of meta tensors do nothing anyway.

    Other threads, such as one that saves a checkpoint, go on as ever.
    """
    measuring = threading.get_ident()

    def refusing(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            if threading.get_ident() == measuring:
                raise MeasurementError("the code waits for other ranks, which a measurement must not")
            return function(*args, **named)

        return call

    present = {name: getattr(torch.distributed, name) for name in _WAITS if hasattr(torch.distributed, name)}
    for name, function in present.items():
        setattr(torch.distributed, name, refusing(function))
    try:
        yield
    finally:
        for name, function in present.items():
            setattr(torch.distributed, name, function)


def _prefer_countable_experts(module: nn.Module) -> None:
    """Hugging Face's experts as batched products: the grouped kernel wants bfloat16, the loop wants data."""
    for each in module.modules():
        config: Any = getattr(each, "config", None)
        if getattr(config, "_experts_implementation", None) is not None:
            config._experts_implementation = "batched_mm"


def _loss(outputs: Any) -> torch.Tensor:
    """The sum of everything in the output that has a gradient."""
    leaves = tree_leaves(list(outputs.values()) if isinstance(outputs, Mapping) else outputs)
    tensors = [each for each in leaves if isinstance(each, torch.Tensor) and each.requires_grad]
    if not tensors:
        raise MeasurementError("the module's output has no gradient, so there is no backward to measure")
    return torch.stack([each.sum().float() for each in tensors]).sum()


def _backward(loss: torch.Tensor) -> None:
    if not loss.requires_grad:
        raise MeasurementError("the loss has no gradient: nothing of what it was computed from trains")
    (loss if loss.dim() == 0 else loss.sum()).backward()


def _takes_index(module: Any) -> bool:
    return _count_of_arguments(module, "training_step") != 1


def _count_of_arguments(module: Any, name: str) -> int:
    """How many of batch, batch index and loader index a step takes; those that have a default are not needed."""
    function = getattr(getattr(module, name), "__func__", None)
    if function is None or function.__code__.co_flags & 0x04:
        return 2
    return int(function.__code__.co_argcount - 1 - len(function.__defaults__ or ()))
