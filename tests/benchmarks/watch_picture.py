"""The picture of `flopwatch watch` in the docs: a made-up run, in a terminal of 110 x 32 characters.

    python tests/benchmarks/watch_picture.py docs/watch.png

The command runs in a pseudo-terminal, and Chromium takes the picture of its last screen.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import select
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path

from pages import BEGAN, H100, WORK, chromium, windows

from flopwatch.run.record_lines import to_json
from flopwatch.run.records import BudgetLine, Start, Totals, Window

COLUMNS, LINES, SECONDS = 110, 32, 6.0
TOKENS_PER_STEP, STEPS = 24 * 8192, 80_000
_CLEAR = "\x1b[H\x1b[2J"
# Fonts of one width lack the dots, and those of another are wider than a column.
_BRAILLE = re.compile("[\u2800-\u28ff]+")
_HEAD = """<meta charset="utf-8"><style>
body { margin: 0; padding: 16px; background: #14181f; color: #d7dde6 }
pre { margin: 0; font: 15px/18px "DejaVu Sans Mono" }
i { display: inline-block; width: 9.03px; height: 18px; vertical-align: top }
i { font: 18px/18px "DejaVu Sans"; transform: scaleX(0.685); transform-origin: left }
</style>"""
SIZE = "1026,616"


def _dots(found: re.Match[str]) -> str:
    return "".join(f"<i>{each}</i>" for each in found[0])


def evenly(made: Iterator[Window]) -> Iterator[Window]:
    """The windows in steps of equal size."""
    step = 0
    for window in made:
        steps = max((window.counts.tokens or 0) // TOKENS_PER_STEP, 1)
        step += steps
        yield replace(window, step=step, budget_fraction=step / STEPS, counts=replace(window.counts, steps=steps))


def write_run(path: Path) -> None:
    budgets = (BudgetLine(STEPS, "steps", "80K steps"),)
    start = Start("run", BEGAN, BEGAN, 0, H100, Totals(joules=0), budgets=budgets, usd_per_device_hour=2.5)
    made = evenly(windows(start, 280, throttled=True))
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"{to_json(each)}\n" for each in (start, WORK, *made)))


def last_screen(folder: Path) -> str:
    """What `flopwatch watch` has on a terminal after some seconds."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.execv(sys.executable, [sys.executable, "-m", "flopwatch", "watch", "llama-8b-made-up"])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    shown, until = b"", time.monotonic() + SECONDS
    while (left := until - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            shown += os.read(terminal, 65536)
    os.kill(process, 2)
    os.waitpid(process, 0)
    return shown.decode().rpartition(_CLEAR)[2].replace("\r", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=Path)
    picture = parser.parse_args().picture.resolve()
    with tempfile.TemporaryDirectory() as name:
        write_run(Path(name) / "llama-8b-made-up" / "run.jsonl")
        screen = last_screen(Path(name))
        page = Path(name) / "screen.html"
        page.write_text(f"{_HEAD}<pre>{_BRAILLE.sub(_dots, escape(screen))}</pre>")
        chromium("--hide-scrollbars", f"--window-size={SIZE}", f"--screenshot={picture}", page.as_uri())
    print(screen)


if __name__ == "__main__":
    main()
