"""What a trace of `torch.profiler` says of a device's time. Needs no torch."""

from flopwatch.trace.account import TraceAccount
from flopwatch.trace.advice import Advice
from flopwatch.trace.json_events import Limits
from flopwatch.trace.report import TraceReport, read_trace

__all__ = ["Advice", "Limits", "TraceAccount", "TraceReport", "read_trace"]
