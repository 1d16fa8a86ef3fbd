"""Two DDP processes that save checkpoints, from the beginning or from one of these."""

import sys

from pytorch_lightning.callbacks import ModelCheckpoint

from flopwatch import FlopWatch
from tests.lightning.models import TinyGPT, loader, trainer


def main(module):
    folder, checkpoint = sys.argv[1], (sys.argv[2:] or [None])[0]
    watch = FlopWatch(peak_flops_per_second=1e9, every_n_steps=3)
    saving = ModelCheckpoint(folder, every_n_train_steps=4, save_top_k=-1, filename="{step}")
    steps = 6 if checkpoint is None else 8
    one = trainer(folder, watch, saving, devices=2, strategy="ddp", max_steps=steps, enable_checkpointing=True)
    one.fit(module, loader(), ckpt_path=checkpoint)


if __name__ == "__main__":
    main(TinyGPT())
