"""The one function through which the driver is asked, and its three kinds of errors."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from flopwatch.errors import DriverError

_T = TypeVar("_T")
READ = "yes"  # what is said of a reading that can be had, in place of why not
_PERMANENT = (
    "INVALID_ARGUMENT",
    "NOT_SUPPORTED",
    "NO_PERMISSION",
    "NOT_FOUND",
    "FUNCTION_NOT_FOUND",
    "ARGUMENT_VERSION_MISMATCH",
    "DEPRECATED",
)
_FATAL = (
    "UNINITIALIZED",
    "DRIVER_NOT_LOADED",
    "LIBRARY_NOT_FOUND",
    "GPU_IS_LOST",
    "RESET_REQUIRED",
    "OPERATING_SYSTEM",
    "LIB_RM_VERSION_MISMATCH",
    "GPU_NOT_FOUND",
)
_initialized_in: int | None = None


@dataclass(frozen=True)
class Answer(Generic[_T]):
    """A value, or why there is none: for good (`permanent`: asking again makes no sense), or this time.

    `impossible` says that the driver answered what cannot be.
    """

    value: _T | None = None
    error: str | None = None
    permanent: bool = False
    impossible: bool = False


def binding() -> Any:
    """Return NVIDIA's Python binding.

    Raises:
        DriverError: If it is missing, or another module has its name.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pynvml
    except ImportError:
        raise DriverError("the NVML binding is missing; install it with `pip install nvidia-ml-py`") from None
    if not hasattr(pynvml, "NVMLError") or not hasattr(pynvml, "nvmlDeviceGetHandleByUUID"):
        raise DriverError(
            "the module `pynvml` is not NVIDIA's binding; run `pip uninstall pynvml` and `pip install nvidia-ml-py`"
        )
    return pynvml


def connect() -> Any:
    """The binding with NVML initialised in this process (again after a fork).

    Raises:
        DriverError: If there is no binding, no driver, or it does not answer.
    """
    global _initialized_in
    pynvml = binding()
    if _initialized_in != os.getpid():
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise DriverError(f"the NVIDIA driver did not respond: {error}") from None
        _initialized_in = os.getpid()
    return pynvml


def ask(function: str, *arguments: Any) -> Answer[Any]:
    """Call a function of the driver.

    Args:
        function: Name of the binding's function; one that this binding or this driver lacks is a permanent refusal.
        *arguments: What the function takes.

    Raises:
        DriverError: If the driver or the GPU is gone, so that asking on makes no sense (a fatal error).
    """
    global _initialized_in
    pynvml = binding()
    call = getattr(pynvml, function, None)
    if call is None:
        return Answer(error=f"this version of nvidia-ml-py has no {function}", permanent=True)
    try:
        return Answer(call(*arguments))
    except pynvml.NVMLError as error:
        if error.value in _codes(pynvml, _FATAL):
            _initialized_in = None
            raise DriverError(f"the NVIDIA driver stopped responding: {error}") from None
        return refusal(pynvml, error.value)


def refusal(pynvml: Any, code: int) -> Answer[Any]:
    """Return the meaning of an error code that is not fatal."""
    return Answer(error=str(pynvml.NVMLError(code)), permanent=code in _codes(pynvml, _PERMANENT))


def _codes(pynvml: Any, names: tuple[str, ...]) -> set[int]:
    return {getattr(pynvml, f"NVML_ERROR_{name}", -1) for name in names}


def driver_version() -> str | None:
    """Return the driver's version.

    Raises:
        DriverError: If there is no binding or no driver.
    """
    connect()
    version: str | None = ask("nvmlSystemGetDriverVersion").value
    return version
