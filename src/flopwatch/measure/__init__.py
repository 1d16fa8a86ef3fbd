"""FLOPs of any module, counted by running it once under a dispatch mode: a copy without data, or the module itself.

    >>> from torch import nn
    >>> import torch
    >>> measure(nn.Linear(4, 6), torch.zeros(2, 4)).forward_flops
    96

Counted are the operators that PyTorch dispatches: matrix products, convolutions, attention. What runs outside of its
dispatcher (Triton kernels launched eagerly, code of other libraries behind `autograd.Function`) cannot be seen;
`register` a formula for operators of your own.
"""

from __future__ import annotations

import importlib
import logging
import re
import threading
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from flopwatch.errors import MeasurementError
from flopwatch.measure.formulas import register
from flopwatch.measure.meta import meta_batch, meta_copy
from flopwatch.measure.meta_counter import MadeOnMeta, MetaCounter, causal_attention_whole
from flopwatch.measure.results import Measurement, Uncounted
from flopwatch.measure.undisturbed import module_kept, random_states_kept, tensors_of
from flopwatch.measure.watching import CAN_WATCH_COMPILED, StepCounter
from flopwatch.model.architecture import AttentionConvention

_logger = logging.getLogger("flopwatch")
_LIBRARIES = tuple(
    f"site-packages/{each}/" for each in ("torch", "transformers", "peft", "pytorch_lightning", "lightning")
)
_ONE_AT_A_TIME = threading.RLock()
__all__ = ["Measurement", "Uncounted", "measure", "meta_batch", "register"]


def measure(
    module: nn.Module,
    *inputs: Any,
    attention: AttentionConvention = "full",
    real_data: bool = False,
    **named_inputs: Any,
) -> Measurement:
    """Measure forward and backward of a module in training mode; only the shapes of the inputs matter, unless asked.

    One thread measures at a time, and others are not disturbed: what they print, warn of and draw from torch's random
    numbers stays. Random states are as before afterwards; what other threads have drawn from Python's or numpy's shared
    generator meanwhile comes again.

    Args:
        module: Any module. A copy of it runs on the meta device, without data and without memory for weights.
        inputs: Positional inputs of its forward.
        attention: "full" counts all pairs; "causal" leaves out what `scaled_dot_product_attention(is_causal=True)`
            masks. Masks given as tensors and other implementations of attention are counted in full either way.
        real_data: Run the module itself on the inputs as they are, once forward and once backward, for code that reads
            values. Gradients, buffers (running statistics) and modes are put back; what the code changes else,
            parameters in place or attributes that are no buffers, is not. Takes the time and memory of a training step,
            without an optimizer's.
        named_inputs: Named inputs of its forward.

    Raises:
        MeasurementError: If the module cannot be copied or run without data; the text says where. Or if its output has
            no gradient.
    """
    with _ONE_AT_A_TIME:
        return (_on_data if real_data else _on_meta)(module, inputs, named_inputs, attention)


def _on_data(module: nn.Module, inputs: Any, named: dict[str, Any], attention: AttentionConvention) -> Measurement:
    tensors = [*module.parameters(), *tensors_of((inputs, named))]
    with module_kept(module, (inputs, named)), random_states_kept(tensors):
        counter = StepCounter(module)
        run_once(module, inputs, named, counter)
    return counter.result(attention)


def _on_meta(module: nn.Module, inputs: Any, named: dict[str, Any], attention: AttentionConvention) -> Measurement:
    try:
        duplicate = meta_copy(module)
    except Exception as error:
        raise MeasurementError(f"{type(module).__name__} cannot be copied for measurement: {short(error)}") from error
    prefer_countable_experts(duplicate)
    if not CAN_WATCH_COMPILED:
        importlib.import_module("torch._dynamo")  # the module may do so, which makes tensors that are no part of it
    counter = MetaCounter(duplicate)
    try:
        with random_states_kept([]), MadeOnMeta(), causal_attention_whole():
            run_once(duplicate, meta_batch(list(inputs)), meta_batch(named), counter)
    except MeasurementError:
        raise
    except (Exception, SystemExit) as error:
        raise MeasurementError(f"{type(module).__name__} cannot be run without data: {short(error)}") from error
    return counter.result(attention)


def run_once(module: nn.Module, inputs: Any, named: dict[str, Any], counter: StepCounter) -> None:
    """Run forward and backward once under a counter."""
    counter.start()
    try:
        with torch.enable_grad():
            _loss(module.train()(*inputs, **named)).backward()
    finally:
        counter.stop()


# Of torch's meta device, and of that before 2.9.
_UNKNOWN_SIZE = re.compile(r"register_meta function for ([\w.]+)\(\)|aten::(nonzero): attempted to run")


def short(error: BaseException) -> str:
    """An error in one line for files; what the user's own code says in it may be secret, and goes to the log alone."""
    text = str(error).strip().split("\n")[0][:200]
    unknown_size = _UNKNOWN_SIZE.search(text)
    if unknown_size is not None:
        return f"its sizes depend on values ({unknown_size[1] or 'torch.nonzero'})"
    frame, where, name = error.__traceback__, "", ""
    while frame is not None:
        name = frame.tb_frame.f_code.co_filename
        if not _is_a_librarys(name):
            where = f" at {name.rsplit('/', 1)[-1]}:{frame.tb_lineno}"
        frame = frame.tb_next
    if _is_a_librarys(name):
        return f"{type(error).__name__}{where}: {text}"
    _logger.info("a trial run without data failed with %s%s: %s", type(error).__name__, where, text)
    return f"{type(error).__name__}{where}"


def _is_a_librarys(file_name: str) -> bool:
    return any(each in file_name for each in (*_LIBRARIES, "flopwatch/measure/"))


def prefer_countable_experts(module: nn.Module) -> None:
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
