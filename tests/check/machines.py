"""The table in docs/hardware.md of machines on which `flopwatch check` ran, from the files that it wrote there.

`python -m tests.check.machines` writes it anew.
"""

import json
import re
from pathlib import Path

from flopwatch import units
from flopwatch.check.text import device_words

ROOT = Path(__file__).parents[2]
RESULTS, PAGE = ROOT / "tests" / "benchmarks" / "results" / "check", ROOT / "docs" / "hardware.md"
_TABLE = re.compile(r"(?<=<!-- checks -->\n).*?(?=<!-- end of checks -->)", re.DOTALL)
_HEAD = ["device", "driver", "torch", "Lightning", "Python", "product", "passed, failed, not here", "failed lines"]


def row(result):
    """One machine's cells."""
    versions, device, outcomes = result["versions"], result["device"], result["outcomes"]
    rates = [each["found"] for each in result["lines"] if each["name"] == "product, two clocks"]
    failed = [each["name"] for each in result["lines"] if each["outcome"] == "fail"]
    return [
        device_words(device),
        versions.get("driver", ""),
        *(versions[each] for each in ("torch", "lightning", "python")),
        f"{units.format_si(rates[0], 'FLOP/s')} {device['dtype']}" if rates else units.UNKNOWN,
        ", ".join(str(outcomes[each]) for each in ("pass", "fail", "not here")),
        ", ".join(failed),
    ]


def table(results):
    """Lines of the table."""
    rows = [_HEAD, ["---"] * len(_HEAD), *sorted(map(row, results))]
    return "".join(f"| {' | '.join(cells)} |\n".replace("|  |", "| |") for cells in rows)


def regenerated(page):
    """The page with the table of the files that are there."""
    results = [json.loads(path.read_text()) for path in RESULTS.glob("*.json")]
    return _TABLE.sub(lambda _: table(results), page)


if __name__ == "__main__":
    PAGE.write_text(regenerated(PAGE.read_text()))
