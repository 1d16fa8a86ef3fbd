"""The dispatch mode that counts what a real training step runs, and changes nothing of it.

It runs no operator twice, keeps no tensor alive, reads no value, and where counting fails it says so, raising nothing.
"""

from __future__ import annotations

import functools
import importlib
import sys
import weakref
from collections import Counter, defaultdict
from collections.abc import Iterator
from types import FrameType
from typing import Any, Literal

import torch
from torch import nn
from torch._ops import HigherOrderOperator
from torch.multiprocessing.reductions import StorageWeakRef
from torch.optim import Optimizer
from torch.utils import _python_dispatch as dispatching
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flopwatch.errors import MeasurementError
from flopwatch.measure import flex
from flopwatch.measure.compiled import CompiledWeights
from flopwatch.measure.formulas import formula_of, gradients_left_out, masked_flops
from flopwatch.measure.operators import is_another_packages, is_composite, is_free, is_heavy
from flopwatch.measure.results import Measurement, Uncounted
from flopwatch.model.architecture import AttentionConvention

Phase = Literal["forward", "backward", "recomputed", "optimizer"]
CAN_WATCH_COMPILED = torch.__version__ >= "2.10"  # a TorchVersion; 2.9 leaves what is compiled, but compiles it again
_RUNS_AGAIN = (
    "work with gradients enabled in the backward pass counts as the model's (double backward); recomputation inside"
    " a custom autograd Function cannot be told apart from it"
)
_ALL_PAIRS = "all attention pairs count where a mask is a tensor or PyTorch decomposes attention (dropout on a CPU)"
# torch 2.4 has no `_safe_softmax`.
_SOFTMAX = [getattr(torch.ops.aten, each) for each in ("_softmax", "_safe_softmax") if hasattr(torch.ops.aten, each)]
_CHECKPOINT_FILE, _ENGINE_FILE = "torch/utils/checkpoint.py", "torch/autograd/graph.py"
_RUNS_ANOTHER = ("auto_functionalized", "auto_functionalized_v2", "with_effects", "inductor_compiled_code")


def _run_under(operator: HigherOrderOperator, mode: StepCounter, *args: Any, **named: Any) -> Any:
    return mode.__torch_dispatch__(operator, (), args, named)


class StepCounter(TorchDispatchMode):
    """Counts FLOPs by phase, and forward FLOPs by the module whose weights they are, between `start` and `stop`.

    Args:
        module: The module whose parameters are told apart.

    Attributes:
        flops_by_dtype: By the dtype of the factors, without the optimizer's work.
    """

    supports_higher_order_operators = True
    _counts_meta = False  # in a real step somebody's estimate, which is no work

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # By phase, and in the forward by the module.
        self._flops: Counter[tuple[Phase, str]] = Counter()
        self.flops_by_dtype: Counter[torch.dtype] = Counter()
        self._masked: Counter[tuple[Phase, str]] = Counter()
        self._uncounted: Counter[str] = Counter()
        self._went_into: dict[str, set[str]] = defaultdict(set)
        self._heavy: set[str] = set()
        self._notes: set[str] = set()
        self._failed: str | None = None
        self._needs: dict[int, tuple[bool, bool, bool]] = {}
        # By storage: the parameter that it is made of, and what keeps the address from being used anew.
        self._owners: dict[int, tuple[str, Any]] = {}
        tables = [(name, each) for name, each in module.named_buffers() if each.dim() >= 2]
        for name, parameter in (*module.named_parameters(), *tables):
            self._own(parameter, name)
        self._compiled = CompiledWeights(module)

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Leave torch.compile as it is: it compiles as without this mode, and runs what it has compiled."""
        return True

    def start(self) -> None:
        """Count from here on, on this thread and in the backward passes that it starts."""
        if not hasattr(TorchDispatchMode, "supports_higher_order_operators"):
            self._register_with_higher_order_operators()
        self.__enter__()  # type: ignore[no-untyped-call]

    def stop(self) -> None:
        """Count no more; modes that were begun since and not ended stay as they are."""
        above = []
        while dispatching._get_current_dispatch_mode() not in (self, None):
            above.append(dispatching._pop_mode())
        if dispatching._get_current_dispatch_mode() is self:
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        for mode in reversed(above):
            dispatching._push_mode(mode)
        try:
            self._compiled.end()
        except Exception as error:
            self._failed = self._failed or f"gradients could not be inspected ({type(error).__name__})"

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator and count it."""
        named = kwargs or {}
        if isinstance(operator, HigherOrderOperator):
            return self._run_higher_order(operator, args, named)
        if torch.is_inference_mode_enabled() and is_composite(operator):
            with self:
                return operator.decompose(*args, **named)
        return self._run(operator, args, named)

    def _run(self, operator: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        out = operator(*args, **named)
        try:
            self._see(operator, args, named, out)
        except Exception as error:
            self._failed = self._failed or f"{operator} could not be counted ({type(error).__name__})"
        return out

    @classmethod
    def _register_with_higher_order_operators(cls) -> None:
        """Tell every operator that is given functions what to do under this mode; before torch 2.9 it raises else."""
        for name in ("cond", "flex_attention"):  # which make them when they are imported
            importlib.import_module(f"torch._higher_order_ops.{name}")
        for operator in torch._ops._higher_order_ops.values():
            table = getattr(operator, "python_key_mode_table", None) or getattr(operator, "python_key_table", {})
            if cls not in table:
                operator.py_impl(cls)(functools.partial(_run_under, operator))

    def _run_higher_order(self, operator: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Run an operator that is given functions; those that run a single other one are counted by that one."""
        if operator.name() in _RUNS_ANOTHER:
            with self:
                return operator.py_kernels[torch._C.DispatchKey.CompositeExplicitAutograd](*args, **named)
        return self._run(operator, args, named)

    def _see(self, operator: Any, args: tuple[Any, ...], named: dict[str, Any], out: Any) -> None:
        tensors = [each for each in tree_leaves((args, named)) if isinstance(each, torch.Tensor)]
        if any(each.is_meta for each in tensors) and not self._counts_meta:
            return
        if getattr(operator, "_overloadpacket", None) in _SOFTMAX:
            self._notes.add(_ALL_PAIRS)
        formula = formula_of(operator)
        if formula is not None:
            self._count(operator, formula, args, named, out, tensors)
        elif not is_free(operator, args, named):
            self._note(operator, tensors)
        self._follow(tensors, out)

    def _count(self, operator: Any, formula: Any, args: Any, named: dict[str, Any], out: Any, tensors: Any) -> None:
        given = {name: value for name, value in named.items() if name != "out"}
        flops = formula(*args, **given, out=out)
        if flops is None:
            return self._note(operator, tensors)
        flops -= self._not_asked_for(operator, args, named, out)
        if not flops:
            return
        phase = self._phase()
        where = (phase, self._place(tensors) if phase == "forward" else "")
        masked = masked_flops(operator, args, named, flops)
        if flex.is_flex(operator):
            self._notes |= set() if flex.kept_pairs(operator, args) is not None else {flex.UNREAD}
        elif not masked and "attention" in operator.name():
            self._notes.add(_ALL_PAIRS)
        self._flops[where] += flops
        if phase != "optimizer":
            self.flops_by_dtype[tensors[0].dtype] += flops
        self._masked[where] += masked
        self._compiled.saw(phase == "forward", tensors, out)

    def _place(self, tensors: list[torch.Tensor]) -> str:
        """Return the module whose weight an operator uses."""
        owners = (owner for each in tensors if (owner := self._owner(each)) is not None)
        return next((owner.rpartition(".")[0] for owner in owners), "products without weights")

    def _not_asked_for(self, operator: Any, args: tuple[Any, ...], named: dict[str, Any], out: Any) -> int:
        """What a fused attention computes in its backward though no gradient is needed there.

        Inside of a `Function`, as compiled code is, tensors do not show what needs a gradient.
        """
        if not operator.name().startswith("aten::_scaled_dot_product"):
            return 0
        names = [each.name for each in operator._schema.arguments]
        if names[:3] == ["query", "key", "value"] and torch.is_grad_enabled():
            needs = (args[0].requires_grad, args[1].requires_grad, args[2].requires_grad)
            result = out[0] if isinstance(out, (tuple, list)) else out
            self._needs[storage_of(result)] = needs
        elif names[1:4] == ["query", "key", "value"] and "out" in names:
            needs = self._needs.get(storage_of(args[names.index("out")]), (True, True, True))
            return gradients_left_out(operator, args, named, needs)
        return 0

    def _phase(self) -> Phase:
        """Autograd is at work, whoever called it; with gradients on it recomputes, or is differentiated itself."""
        if int(torch._C._current_graph_task_id()) != -1:
            if called_from_checkpoint():
                return "recomputed"
            if torch.is_grad_enabled():
                self._notes.add(_RUNS_AGAIN)
            return "backward"
        return "optimizer" if not torch.is_grad_enabled() and _called_from_optimizer() else "forward"

    def _note(self, operator: Any, tensors: list[torch.Tensor]) -> None:
        name = str(getattr(operator, "_overloadpacket", f"higher_order.{operator.name()}"))
        self._uncounted[name] += 1
        self._went_into[name] |= {owner for each in tensors if (owner := self._owner(each)) is not None}
        if is_heavy(name) or (is_another_packages(operator) and sum(each.dim() >= 2 for each in tensors) >= 2):
            self._heavy.add(name)

    def _owner(self, tensor: torch.Tensor) -> str | None:
        owner = self._owners.get(storage_of(tensor))
        return None if owner is None else owner[0]

    def _own(self, tensor: torch.Tensor, owner: str) -> None:
        """Remember the module of a tensor without keeping the tensor alive."""
        key, owners = storage_of(tensor), self._owners
        if tensor.layout is torch.strided:
            owners[key] = (owner, StorageWeakRef(tensor.untyped_storage()))
        else:
            owners[key] = (owner, weakref.ref(tensor, lambda _: owners.pop(key, None)))

    def _follow(self, tensors: list[torch.Tensor], out: Any) -> None:
        """What is made of one parameter alone is still that parameter, as a cast of it is."""
        owners = {self._owner(each) for each in tensors}
        if len(owners) != 1 or None in owners:
            return
        (owner,) = owners
        for each in tree_leaves(out):
            if isinstance(each, torch.Tensor) and self._owner(each) is None:
                self._own(each, owner or "")

    def result(self, attention: AttentionConvention) -> Measurement:
        """Return what was counted.

        Args:
            attention: "full" counts all pairs; "causal" leaves out those that PyTorch's attention was told to mask.

        Raises:
            MeasurementError: If counting failed.
        """
        if self._failed is not None:
            raise MeasurementError(self._failed)
        flops = self._flops - self._masked if attention == "causal" else self._flops
        notes = self._notes if attention == "causal" else self._notes - {_ALL_PAIRS}
        phases: Counter[Phase] = Counter()
        for (phase, _), count in flops.items():
            phases[phase] += count
        return Measurement(
            forward_flops=phases["forward"],
            backward_flops=phases["backward"],
            recomputed_flops=phases["recomputed"],
            attention=attention,
            by_module={place: count for (phase, place), count in flops.items() if phase == "forward"},
            uncounted=tuple(self._listed()),
            unseen=self._compiled.unseen,
            assumptions=tuple(sorted(notes)),
        )

    def _listed(self) -> Iterator[Uncounted]:
        """The operators that were not counted; compiled kernels of flex_attention are seen by no mode."""
        for name, calls in sorted(self._uncounted.items()):
            yield Uncounted(name, calls, tuple(sorted(self._went_into[name])), name in self._heavy)
        if not self._counts_meta and flex.is_compiled_in():
            yield Uncounted(flex.COMPILED, 1, heavy=True)


def storage_of(tensor: torch.Tensor) -> int:
    """Return a key that identifies a tensor's memory."""
    return int(tensor.untyped_storage()._cdata) if tensor.layout is torch.strided else id(tensor)


def called_from_checkpoint() -> bool:
    """Whether activation checkpointing, of either kind, runs a forward again, and not the engine a backward in it."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.endswith(_CHECKPOINT_FILE):
            return True
        if frame.f_code.co_filename.endswith(_ENGINE_FILE):
            return False
        frame = frame.f_back
    return False


def _called_from_optimizer() -> bool:
    """Whether it is an optimizer's own work, and not that of a closure that it runs."""
    frame: FrameType | None = sys._getframe(3)
    while frame is not None and frame.f_code.co_name != "training_step":
        if frame.f_code.co_name == "step" and isinstance(frame.f_locals.get("self"), Optimizer):
            return True
        frame = frame.f_back
    return False
