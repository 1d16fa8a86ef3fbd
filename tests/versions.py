"""What older versions of other packages cannot do, as marks of the tests that need it."""

import importlib.util

import pytest
import pytorch_lightning
import torch
import wandb
from packaging.version import Version

from flopwatch.measure.watching import CAN_WATCH_COMPILED


def _since(found, version, why):
    return pytest.mark.skipif(Version(found) < Version(version), reason=f"before {version} {why}")


torch_2_5 = _since(
    torch.__version__, "2.5", "torch checkpoints nothing on the meta device, and has no shapes of attention"
)
torch_2_9 = _since(torch.__version__, "2.9", "torch lacks what this test uses")
torch_2_10 = _since(torch.__version__, "2.10", "torch has no backward of weight normalization on the meta device")
torch_2_9_for_groups = _since(
    torch.__version__, "2.9", "torch decomposes attention with fewer keys than queries on a CPU, so all pairs count"
)
watches_compiled = pytest.mark.skipif(
    not CAN_WATCH_COMPILED, reason="before 2.10 torch cannot leave compiled code alone"
)
lightning_2_5 = _since(
    pytorch_lightning.__version__,
    "2.5",
    "Lightning resumes a batch early, saves within callbacks, and does not know today's rich",
)
wandb_online = _since(wandb.__version__, "0.28.2", "wandb asks a server for what the stub does not have")
workspaces = pytest.mark.skipif(
    importlib.util.find_spec("wandb_workspaces") is None, reason="wandb-workspaces is not installed"
)
