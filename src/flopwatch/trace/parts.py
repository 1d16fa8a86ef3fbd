"""The parts of a step's time, in the order in which they count where several things run at the same moment.

Compute hides communication, and both hide copies; among compute the first of the list counts.
"""

from __future__ import annotations

from flopwatch.trace.formulas import ATTENTION, CONVOLUTION, MATMUL

OTHER, OPTIMIZER = "other_compute", "optimizer"
COMMUNICATION, COPY = "communication_exposed", "copy_exposed"
IDLE_DATA, IDLE_HOST, IDLE_OTHER = "idle_data", "idle_host", "idle_other"
COMPUTE = (MATMUL, ATTENTION, CONVOLUTION, OTHER, OPTIMIZER)
BUSY = (*COMPUTE, COMMUNICATION, COPY)
PARTS = (*BUSY, IDLE_DATA, IDLE_HOST, IDLE_OTHER)

FORWARD, BACKWARD, RECOMPUTATION, OPTIMIZER_PHASE, UNKNOWN = range(5)
PHASES = ("forward", "backward", "recomputation", "optimizer", "unknown")
