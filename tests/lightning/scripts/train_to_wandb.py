"""A fit that logs to W&B, as the options say; the test may pause it at a batch."""

import json
import signal
import sys
import time

import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, WandbLogger

from flopwatch import FlopWatch
from flopwatch.wandb.online import disconnect
from tests.lightning.models import TinyGPT, loader, trainer

torch.set_num_threads(1)

options = json.loads(sys.argv[1])


class Model(TinyGPT):
    def training_step(self, batch, index):
        loss = super().training_step(batch, index)
        if options.get("losses", True):
            self.log("train/loss", loss)
        return loss


def at_batch(index):
    time.sleep(options.get("seconds", 0.01))
    if index == options.get("pause_at"):
        print("paused", flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    folder = options["folder"]
    loggers = [WandbLogger(save_dir=folder, project="p", id=options.get("id"), **options.get("wandb", {}))]
    if options.get("two"):
        loggers.append(CSVLogger(folder, name="csv"))
    if options.get("tokens_axis"):
        loggers[0].experiment.define_metric("train/loss", step_metric="budget/tokens", step_sync=True)
    if options.get("file_bytes"):
        import resource

        assert loggers[0].experiment is not None, "its files are open before the limit"
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (options["file_bytes"], resource.RLIM_INFINITY))
    watch = FlopWatch(
        options.get("budget"), peak_flops_per_second=1e9, every_n_steps=2, dirpath=folder, **options.get("watch", {})
    )
    saving = ModelCheckpoint(folder, every_n_train_steps=options.get("save_every", 1000), save_top_k=-1)
    changes = {"logger": loggers, "log_every_n_steps": 2, "max_steps": options["steps"], "enable_checkpointing": True}
    if options.get("devices"):
        from pytorch_lightning.strategies import DDPStrategy

        changes |= {"devices": 2, "strategy": DDPStrategy(process_group_backend="gloo")}
    trainer(folder, watch, saving, **changes).fit(Model(at_batch), loader(), ckpt_path=options.get("ckpt"))
    import wandb

    wandb.finish()
    disconnect()
