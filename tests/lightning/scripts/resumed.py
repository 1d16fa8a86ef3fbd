"""A fit from a checkpoint, or from the beginning, with the callbacks that are given."""

import sys

from pytorch_lightning.callbacks import ModelCheckpoint

from tests.lightning.models import TinyGPT, loader, trainer

folder, steps, checkpoint = sys.argv[1], int(sys.argv[2]), (sys.argv[3:] or [None])[0]
saving = ModelCheckpoint(folder, every_n_train_steps=3, filename="{step}")
own = eval(sys.argv[4]) if len(sys.argv) > 4 else []
one = trainer(folder, saving, *own, max_steps=steps, enable_checkpointing=True)
one.fit(TinyGPT(), loader(), ckpt_path=checkpoint)
