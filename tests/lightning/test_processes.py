"""Two and four real processes over gloo: what all do together is what one process would have done."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy, DeepSpeedStrategy, FSDPStrategy

from flopwatch.lightning.ranks.ranks import ranks_per_replica
from flopwatch.run.metrics import mfu
from flopwatch.run.run_file import read_run
from tests import running
from tests.lightning.models import FLOPS_PER_SEQUENCE, SEQ_LEN

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent / "scripts" / "train_by_strategy.py"
# Eight sequences are a global batch, however many processes share it; the last of six has only six of them.
SEQUENCES = 5 * 8 + 6


@pytest.fixture
def train(tmp_path):
    def run(strategy, devices=1, replicas=1, **options):
        folder = tmp_path / strategy
        given = {"strategy": strategy, "devices": devices, "replicas": replicas, "folder": str(folder), **options}
        return running.run(SCRIPT, SEQUENCES, json.dumps(given), timeout=200), folder

    return run


def segment_of(result, folder):
    assert result.returncode == 0, result.stderr[-3000:]
    assert "stopped measuring" not in result.stderr
    (segment,) = read_run(folder).segments
    return segment


@pytest.mark.parametrize(
    ("strategy", "devices", "replicas"),
    [("one", 1, 1), ("ddp", 2, 2), ("ddp", 4, 4), ("fsdp2", 2, 2), ("tp", 4, 2)],
)
def test_all_together_do_what_one_does(train, strategy, devices, replicas):
    segment = segment_of(*train(strategy, devices, replicas))
    totals = segment.end.totals
    # Samplers fill the last global batch up where it cannot be divided: of 46 sequences nobody gets a part.
    sequences = -(-SEQUENCES // replicas) * replicas
    assert (totals.counts.samples, totals.counts.tokens) == (sequences, sequences * SEQ_LEN)
    assert totals.counts.flops == sequences * FLOPS_PER_SEQUENCE
    assert (totals.counts.steps, segment.start.device.count) == (6, devices)
    assert segment.work.verification == "verified", segment.work.note
    for window in segment.windows:
        assert window.counts.flops == window.counts.samples * FLOPS_PER_SEQUENCE


def test_mfu_is_of_all_devices(train):
    segment = segment_of(*train("ddp", 2, 2))
    window = segment.windows[1]
    # Step 2 alone, eight sequences in all, over its seconds, two devices and a peak of 1e9.
    assert window.counts.flops == 8 * FLOPS_PER_SEQUENCE
    assert mfu(window, segment.start.device) == pytest.approx(8 * FLOPS_PER_SEQUENCE / window.seconds / 2 / 1e9)


def test_the_slowest_rank_is_named(train):
    segment = segment_of(*train("ddp", 2, 2, slow=1))
    windows = [window for window in segment.windows if not window.first]
    assert {window.slowest_rank for window in windows} == {1}
    assert all(window.slowest_rank_ratio > 1.1 for window in windows)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def by_torchrun(node, port):
    where = [f"--node-rank={node}", "--master-addr=127.0.0.1", f"--master-port={port}"]
    return ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", *where], {}


def by_slurm(node, port):
    job = {"JOB_ID": "1", "JOB_NAME": "train", "NTASKS": "2", "NTASKS_PER_NODE": "1", "NODELIST": "127.0.0.1"}
    job |= {"PROCID": node, "NODEID": node, "LOCALID": "0"}
    return [], {"MASTER_PORT": port, **{f"SLURM_{name}": value for name, value in job.items()}}


@pytest.mark.parametrize("start", [by_torchrun, by_slurm])
def test_two_nodes_are_one_run(train, tmp_path, start):
    """Both nodes are this machine; what starts their processes is the real torchrun, and the variables of SLURM."""
    options = {"strategy": "ddp", "devices": 1, "nodes": 2, "replicas": 2, "folder": str(tmp_path / "run")}
    port, nodes = str(free_port()), []
    for node in "01":
        launcher, environment = start(node, port)
        command = [sys.executable, *launcher, str(SCRIPT), str(SEQUENCES), json.dumps(options)]
        nodes.append(subprocess.Popen(command, env=running.environment(**environment), stderr=subprocess.PIPE))
    for node in nodes:
        _, errors = node.communicate(timeout=120)
        assert node.returncode == 0, errors[-3000:]
        assert b"stopped measuring" not in errors
    (segment,) = read_run(tmp_path / "run").segments
    assert (segment.end.totals.counts.samples, segment.start.device.count) == (SEQUENCES, 2)
    assert segment.end.totals.counts.flops == SEQUENCES * FLOPS_PER_SEQUENCE


def test_a_rank_that_is_killed_leaves_nobody_waiting_and_no_wrong_total(train, tmp_path):
    """The ranks are started as a cluster starts them, so that nobody ends the other one but training itself."""
    options = {"strategy": "ddp", "devices": 2, "replicas": 2, "folder": str(tmp_path / "run"), "killed": 1}
    together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "NODE_RANK": "0"}
    first, second = (
        running.start(SCRIPT, SEQUENCES, json.dumps(options), variables={**together, "LOCAL_RANK": rank})
        for rank in "01"
    )
    second.communicate(timeout=120)
    _, errors = first.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (1, -signal.SIGKILL)
    assert "stopped measuring" not in errors
    (segment,) = read_run(tmp_path / "run").segments
    assert segment.end.status == "failed"
    # The last step was not finished by both: what all did together up to there is not known.
    assert segment.end.totals.counts.tokens is None
    for window in segment.windows:
        assert window.totals.counts.tokens in (None, window.step * 8 * SEQ_LEN)


def strategy_on(kind, **arguments):
    devices = [torch.device("cuda", index) for index in range(4)]
    return kind(parallel_devices=devices, cluster_environment=LightningEnvironment(), **arguments)


def test_ranks_that_share_a_batch_are_told_by_the_strategy():
    sharded = strategy_on(FSDPStrategy)
    assert sharded.distributed_sampler_kwargs["num_replicas"] == 4
    assert ranks_per_replica(sharded, 4) == 1
    assert ranks_per_replica(strategy_on(DDPStrategy), 4) == 1
    # DeepSpeed's strategy cannot be made without DeepSpeed; its answer can be asked of what it asks of itself.
    itself = SimpleNamespace(world_size=4, global_rank=0)
    stated = DeepSpeedStrategy.distributed_sampler_kwargs.fget(itself)
    assert ranks_per_replica(SimpleNamespace(distributed_sampler_kwargs=stated), 4) == 1
