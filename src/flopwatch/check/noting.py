"""Notes which operators run."""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class NotedOperators(TorchDispatchMode):
    """Notes the names of the operators that go through it, in order, as `names`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Leave torch.compile as it is."""
        return True

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(operator.name()))
        return operator(*args, **(kwargs or {}))
