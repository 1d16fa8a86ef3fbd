"""Attempts of one run, forked one after another; each keeps a diary of its batches."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch
import torch._dynamo  # before the forks: older Lightnings import it in each fit, which takes a second
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from flopwatch import FlopWatch
from tests.lightning.models import TinyGPT, loader, trainer

torch.set_num_threads(1)

folder, plan = Path(sys.argv[1]), json.loads(sys.argv[2])


class Diary(Callback):
    def __init__(self, file):
        self.file = file

    def on_train_batch_end(self, trainer, *_):
        os.write(self.file, json.dumps([trainer.global_step, time.monotonic()]).encode() + b"\n")


def attempt(number, goes_on_from, batches, end, steps, accumulate):
    file = os.open(folder / f"diary-{number:03}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    done = 0

    def at_batch(index):
        nonlocal done
        if done == batches and end in ("kill", "raise"):
            # What was done is on disk a quarter of a second later; a kill before that would lose sight of it.
            time.sleep(0.6)
            if end == "kill":
                os.write(file, json.dumps([-1, time.monotonic()]).encode() + b"\n")
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("the attempt fails")
        done += 1

    class Stop(Callback):
        def on_train_batch_end(self, trainer, *_):
            if end == "stop" and done == batches:
                trainer.should_stop = True

    saving = ModelCheckpoint(
        folder / "checkpoints", "{step}", every_n_train_steps=3, save_top_k=-1, enable_version_counter=False
    )
    watch = FlopWatch(every_n_steps=5, peak_flops_per_second=1e9, report=False)
    path = None if goes_on_from is None else folder / "checkpoints" / f"step={goes_on_from}.ckpt"
    one = trainer(
        folder,
        watch,
        saving,
        Diary(file),
        Stop(),
        max_steps=steps,
        enable_checkpointing=True,
        accumulate_grad_batches=accumulate,
    )
    os.write(file, json.dumps([goes_on_from or 0, time.monotonic()]).encode() + b"\n")
    try:
        one.fit(TinyGPT(at_batch), loader(), ckpt_path=path)
    except RuntimeError as error:
        if "the attempt fails" not in str(error):
            raise
    finally:
        os.write(file, json.dumps([-1, time.monotonic()]).encode() + b"\n")


for number, each in enumerate(plan):
    child = os.fork()
    if child == 0:
        attempt(number, **each)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == (signal.SIGKILL if each["end"] == "kill" else 0), f"attempt {number} ended with {status}"
