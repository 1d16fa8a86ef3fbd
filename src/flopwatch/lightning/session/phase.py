"""How far a fit has come."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """How far a fit has come."""

    SET_UP = "set up"
    TRAINING = "training"
    STOPPING = "stopping at a budget"
    ENDED = "ended"
