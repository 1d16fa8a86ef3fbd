"""Prints the dtypes that modules under `fully_shard` compute in."""

from types import SimpleNamespace

import torch
import torch.distributed as dist
from pytorch_lightning.plugins.precision import Precision
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from flopwatch.lightning.counting.precision import precision_of

dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)


def dtype(policy):
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    mesh = dist.init_device_mesh("cpu", (1,)) if hasattr(dist, "init_device_mesh") else None
    for part in (*module, module):
        fully_shard(part, mesh=mesh, mp_policy=policy)
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    return precision_of(SimpleNamespace(precision_plugin=Precision(), strategy=strategy), module).dtype


mixed = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
print(dtype(mixed), dtype(MixedPrecisionPolicy()))
