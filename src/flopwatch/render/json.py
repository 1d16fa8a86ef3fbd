"""The report as JSON: the fields of `Report`, in base units, unknown as null."""

from __future__ import annotations

import dataclasses
import json

from flopwatch.report import Report


def render(report: Report) -> str:
    """The report as indented JSON; FLOPs are integers, however large."""
    return json.dumps(dataclasses.asdict(report), indent=2) + "\n"
