"""The report as JSON: the verdict and the fields of `Report`, in base units, unknown as null."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from flopwatch.report.inside import Inside
from flopwatch.report.report import Report
from flopwatch.report.verdict import verdict
from flopwatch.run.flat_totals import flat


def render(report: Report) -> str:
    """The report as indented JSON; FLOPs are integers, however large."""
    told = dataclasses.asdict(dataclasses.replace(report, inside=Inside()))
    values = {"verdict": verdict(report), **told, "totals": flat(report.totals), "inside": report.inside.to_json()}
    return json.dumps(_finite(values), indent=2, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """The same with null for what no JSON can hold, as the ratio to a peak of next to nothing."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, (list, tuple)) else value
