"""A fit over some strategy and its processes, as the options say."""

import json
import os
import signal
import sys
import time

import torch
from pytorch_lightning import strategies as kinds
from pytorch_lightning.strategies import DDPStrategy
from torch.utils.data import DataLoader

from flopwatch import FlopWatch
from tests.lightning.models import TinyGPT, Tokens, trainer

torch.set_num_threads(1)

sequences, options = int(sys.argv[1]), json.loads(sys.argv[2])
rank = int(os.environ.get("LOCAL_RANK", 0))


def at_batch(index):
    if rank == options.get("slow"):
        time.sleep(0.25)
    if rank == options.get("killed") and index == 3:
        os.kill(os.getpid(), signal.SIGKILL)


class Sharded(TinyGPT):
    def configure_model(self):
        from torch.distributed._composable.fsdp import fully_shard
        from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

        mesh = self.device_mesh
        for block in self.blocks:
            if mesh["tensor_parallel"].size() > 1:
                plan = {"up": ColwiseParallel(), "down": RowwiseParallel()}
                parallelize_module(block, mesh["tensor_parallel"], plan)
            if mesh["data_parallel"].size() > 1:
                fully_shard(block, mesh=mesh["data_parallel"])


strategies = {
    "one": lambda: "auto",
    "ddp": lambda: DDPStrategy(process_group_backend="gloo"),
    "fsdp2": lambda: kinds.ModelParallelStrategy(2, 1, process_group_backend="gloo"),
    "tp": lambda: kinds.ModelParallelStrategy(2, 2, process_group_backend="gloo"),
}
kind = options["strategy"]
model = Sharded(at_batch) if kind in ("fsdp2", "tp") else TinyGPT(at_batch)
watch = FlopWatch(peak_flops_per_second=1e9, every_n_steps=2, dirpath=options["folder"])
changes = {"devices": options["devices"], "strategy": strategies[kind](), "max_epochs": 1, "max_steps": -1}
changes["num_nodes"] = options.get("nodes", 1)
one = trainer(options["folder"], watch, **changes)
batches = DataLoader(Tokens(sequences, 1), batch_size=8 // options["replicas"])
one.fit(model, batches)
