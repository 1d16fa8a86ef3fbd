"""Attempts that are killed after so many steps each, and one that is not."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from flopwatch import FlopWatch
from tests.lightning.models import TinyGPT, loader, trainer

torch.set_num_threads(1)

folder, plan = Path(sys.argv[1]), json.loads(sys.argv[2])
steps, every = int(sys.argv[3]), int(sys.argv[4])


class Diary(Callback):
    def on_train_batch_end(self, trainer, *_):
        os.write(diary, f"{trainer.global_step}\n".encode())


def attempt(kill_after):
    def at_batch(index):
        if len(Path(folder / "diary").read_text().split()) - done == kill_after:
            # What was done is on disk a quarter of a second later; a kill before that would lose sight of it.
            time.sleep(0.6)
            os.kill(os.getpid(), signal.SIGKILL)

    done = len(Path(folder / "diary").read_text().split())
    last = folder / "last.ckpt"
    saving = ModelCheckpoint(folder, every_n_train_steps=every, save_last=True)
    watch = FlopWatch(every_n_steps=5, peak_flops_per_second=1e9)
    one = trainer(folder, watch, saving, Diary(), max_steps=steps, enable_checkpointing=True)
    one.fit(TinyGPT(at_batch), loader(), ckpt_path=last if last.exists() else None)


diary = os.open(folder / "diary", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for kill_after in [*plan, None]:
    child = os.fork()
    if child == 0:
        attempt(kill_after)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    expected = 0 if kill_after is None else signal.SIGKILL
    assert status == expected, f"an attempt ended with {status}"
