"""Attempts of one run, forked from a process that has imported everything: killed, failed or stopped, and gone on with.

Each keeps a diary of its batches, so that what was done in all is known to the batch.
"""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = str(Path(__file__).parents[2])
SERVER = f"""
import json, os, signal, sys, time
sys.path.insert(0, {ROOT!r})
from pathlib import Path
import torch
torch.set_num_threads(1)
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from flopwatch import FlopWatch
from tests.lightning.models import TinyGPT, loader, trainer

folder, plan = Path(sys.argv[1]), json.loads(sys.argv[2])

class Diary(Callback):
    def __init__(self, file):
        self.file = file

    def on_train_batch_end(self, trainer, *_):
        os.write(self.file, json.dumps([trainer.global_step, time.monotonic()]).encode() + b"\\n")

def attempt(number, goes_on_from, batches, end, steps, accumulate):
    file = os.open(folder / f"diary-{{number:03}}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    done = 0
    def at_batch(index):
        nonlocal done
        if done == batches and end in ("kill", "raise"):
            # What was done is on disk a quarter of a second later; a kill before that would lose sight of it.
            time.sleep(0.6)
            if end == "kill":
                os.write(file, json.dumps([-1, time.monotonic()]).encode() + b"\\n")
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("the attempt fails")
        done += 1

    class Stop(Callback):
        def on_train_batch_end(self, trainer, *_):
            if end == "stop" and done == batches:
                trainer.should_stop = True

    saving = ModelCheckpoint(
        folder / "checkpoints", "{{step}}", every_n_train_steps=3, save_top_k=-1, enable_version_counter=False
    )
    watch = FlopWatch(every_n_steps=5, peak_flops_per_second=1e9, report=False)
    path = None if goes_on_from is None else folder / "checkpoints" / f"step={{goes_on_from}}.ckpt"
    one = trainer(
        folder, watch, saving, Diary(file), Stop(), max_steps=steps, enable_checkpointing=True,
        accumulate_grad_batches=accumulate,
    )
    os.write(file, json.dumps([goes_on_from or 0, time.monotonic()]).encode() + b"\\n")
    try:
        one.fit(TinyGPT(at_batch), loader(), ckpt_path=path)
    except RuntimeError as error:
        assert "the attempt fails" in str(error), error
    finally:
        os.write(file, json.dumps([-1, time.monotonic()]).encode() + b"\\n")

for number, each in enumerate(plan):
    child = os.fork()
    if child == 0:
        attempt(number, **each)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == (signal.SIGKILL if each["end"] == "kill" else 0), f"attempt {{number}} ended with {{status}}"
"""


@dataclass(frozen=True)
class Attempt:
    """From which step's checkpoint, how many batches, how it ends ("kill", "raise", "stop"), and what steps are."""

    goes_on_from: int | None
    batches: int | None
    end: str = "kill"
    steps: int = 60
    accumulate: int = 1


@dataclass(frozen=True)
class Done:
    """What an attempt did: its first and its last step, batches, and seconds from before the fit to its end."""

    since: int
    until: int
    batches: int
    seconds: float


def run(folder, plan, timeout=400):
    """Run the attempts one after another; returns what each of them did."""
    folder.mkdir(exist_ok=True)
    words = json.dumps([asdict(each) for each in plan])
    result = subprocess.run(
        [sys.executable, "-c", SERVER, folder, words], capture_output=True, text=True, timeout=timeout
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return [_done(path) for path in sorted(folder.glob("diary-*"))]


def _done(path):
    (since, began), *batches, (_, ended) = [json.loads(line) for line in path.read_text().splitlines()]
    return Done(since, batches[-1][0] if batches else since, len(batches), ended - began)
