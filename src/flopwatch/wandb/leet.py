"""`wandb leet`, W&B's charts in a terminal, on a run's file, laid out for flopwatch's keys."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

from flopwatch.errors import WandbError

_FIRST_VERSION = (0, 29)
_SETTINGS = {
    "metrics_grid": {"rows": 4, "cols": 3},
    "left_sidebar_visible": False,
    "right_sidebar_visible": False,
    "console_logs_visible": False,
    "media_visible": False,
    "chart_guides": "dots",
    "single_run_color_mode": "per_plot",
    "heartbeat_interval_seconds": 2,
}
# A screen of twelve: without totals, which are straight lines; `ctrl+/` there shows all.
_FILTER = {"metrics_filter": {"query": "perf|fraction|left$|loss|gpu"}}


def available() -> bool:
    """Whether the installed wandb can do it."""
    try:
        import wandb
    except ImportError:
        return False
    return tuple(int(part) for part in wandb.__version__.split(".")[:2]) >= _FIRST_VERSION


def show(path: Path) -> None:
    """Show a run's charts until the user leaves them; settings of the user's and the run's folder stay as they are.

    Args:
        path: A `.wandb` file.

    Raises:
        WandbError: If the view ends with an error.
    """
    from wandb.util import get_core_path

    with tempfile.TemporaryDirectory(prefix="flopwatch-") as folder:
        settings, state = Path(folder, "settings"), Path(folder, "state")
        for place, name, content in (
            (settings, "wandb-leet.json", _SETTINGS),
            (state, ".wandb-leet.json", _FILTER),
        ):
            place.mkdir()
            (place / name).write_text(json.dumps(content), encoding="utf-8")
        command = [get_core_path(), "leet", "run", "--no-observability", "--run-file", str(path.resolve()), str(state)]
        code = subprocess.run(command, env={**os.environ, "WANDB_CONFIG_DIR": str(settings)}, check=False).returncode
    if code:
        raise WandbError(f"`wandb leet` ended with code {code}; `flopwatch watch --table` shows the numbers without it")
