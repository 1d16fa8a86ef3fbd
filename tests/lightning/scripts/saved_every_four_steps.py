"""A fit that saves a checkpoint every four steps, and goes on from the last one if there is one."""

import sys
import time
from pathlib import Path

from pytorch_lightning.callbacks import ModelCheckpoint

from flopwatch import FlopWatch
from tests.lightning.models import TinyGPT, loader, trainer

folder = Path(sys.argv[1])
saving = ModelCheckpoint(folder, every_n_train_steps=4, save_last=True)
watch = FlopWatch(every_n_steps=3, peak_flops_per_second=1e9)
last = folder / "last.ckpt"
one = trainer(folder, watch, saving, max_steps=int(sys.argv[2]), enable_checkpointing=True, accumulate_grad_batches=2)
one.fit(TinyGPT(lambda index: time.sleep(0.05)), loader(), ckpt_path=last if last.exists() else None)
