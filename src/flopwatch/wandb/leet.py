"""`wandb leet`, W&B's charts in a terminal, on a run's file, laid out for flopwatch's keys."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flopwatch.errors import WandbError
from flopwatch.wandb.log import LogReader
from flopwatch.wandb.online import guarded

_FIRST_VERSION = (0, 29)
_SETTINGS = {
    "left_sidebar_visible": False,
    "right_sidebar_visible": False,
    "console_logs_visible": False,
    "media_visible": False,
    "chart_guides": "dots",
    "single_run_color_mode": "per_plot",
    "heartbeat_interval_seconds": 2,
}
_CHART_COLUMNS, _CHART_LINES = 40, 11
_MOST_IN_A_ROW, _MOST_ROWS = 3, 4
# What a first screen shows, without totals, which are straight lines; `ctrl+/` there shows all.
_ALL, _FEW = "perf|fraction|left$|loss|gpu", "/mfu$|tokens_per_sec|left$|fraction|loss"


def layout(columns: int, lines: int) -> tuple[int, int, str]:
    """Rows of charts, charts in a row, and which are shown, for a terminal of a size."""
    in_a_row = min(max(columns // _CHART_COLUMNS, 1), _MOST_IN_A_ROW)
    rows = min(max(lines // _CHART_LINES, 1), _MOST_ROWS)
    return rows, in_a_row, _ALL if rows * in_a_row >= _MOST_IN_A_ROW * _MOST_ROWS else _FEW


def terminal_size() -> tuple[int, int]:
    """Columns and lines of the terminal itself, whatever variables say of that of another one."""
    try:
        columns, lines = os.get_terminal_size()
    except OSError:
        columns, lines = shutil.get_terminal_size()
    return columns, lines


def available() -> bool:
    """Return whether the installed wandb has `wandb leet`."""
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
        RunFileError: If it is none.
        WandbError: If the view ends with an error.
    """
    LogReader(path).check()
    with guarded():
        from wandb.util import get_core_path

        core = get_core_path()
    with tempfile.TemporaryDirectory(prefix="flopwatch-") as folder:
        settings, state = Path(folder, "settings"), Path(folder, "state")
        rows, in_a_row, shown = layout(*terminal_size())
        grid = {"metrics_grid": {"rows": rows, "cols": in_a_row}}
        _write(settings / "wandb-leet.json", {**_SETTINGS, **grid})
        _write(state / ".wandb-leet.json", {"metrics_filter": {"query": shown}})
        command = [core, "leet", "run", "--no-observability", "--run-file", str(path.resolve()), str(state)]
        code = _run(command, {**os.environ, "WANDB_CONFIG_DIR": str(settings)})
    if code:
        raise WandbError(
            f"`wandb leet` exited with code {code}; `flopwatch watch --table` prints the numbers without it"
        )


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir()
    path.write_text(json.dumps(content), encoding="utf-8")


def _run(command: list[str], environment: Mapping[str, str]) -> int:
    """Run a command that ends when flopwatch ends, is terminated or loses its terminal."""
    with subprocess.Popen(command, env=environment) as process:

        def end(number: int, frame: object) -> None:
            process.terminate()
            raise SystemExit(128 + number)

        earlier = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
        try:
            return process.wait()
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)
