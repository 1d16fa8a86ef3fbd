"""A tiny job of many real processes over gloo, forked after the imports: `python job.py '{"ranks": 4, ...}'`.

Prints what became of it as JSON: `seconds` from the first fork to the last exit, `hung` processes, exit `codes`
by rank, `steps` that each rank came to, `flops` and `status` of the run file's end.

Options: `with` (whether FlopWatch is there), `steps`, `fault` of the last rank at its fifth batch ("raise", "exit",
"kill", "stop" for `stop_seconds`, "missing", "breaks", "version", "store", "deaf"), `budget` in steps.
"""

import json
import logging
import os
import signal
import socket
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from flopwatch import FlopWatch
from flopwatch.lightning.ranks import publishing
from flopwatch.lightning.ranks import ranks as ranks_module
from flopwatch.lightning.ranks.stopping import StopVote
from flopwatch.lightning.session.session import Session

# torch's store looks the name of every client up; where nobody answers, that shall not take five seconds each time.
os.environ.update(OMP_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo", RES_OPTIONS="timeout:1 attempts:1")
warnings.filterwarnings("ignore")
torch.set_num_threads(1)
for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel("ERROR")

options = {"with": True, "steps": 9, "fault": None, "budget": None, "stop_seconds": 3, "sleep": 0.0}
options |= json.loads(sys.argv[1])
COUNT, FAULT = options["ranks"], options["fault"]
# Two samples a batch: forward 2 * 2 * (8 * 16 + 16 * 4) = 768, weights of both layers the same again, the gradient of
# the second one's input 2 * 2 * 64 = 256.
FLOPS_PER_BATCH = 768 + 768 + 256


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def misbehave():
    if FAULT == "raise":
        raise RuntimeError("this rank fails")
    if FAULT == "exit":
        os._exit(0)
    if FAULT == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if FAULT == "stop":
        if not os.fork():
            time.sleep(options["stop_seconds"])
            os.kill(os.getppid(), signal.SIGCONT)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGSTOP)


class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))

    def training_step(self, batch, index):
        time.sleep(options["sleep"])
        if index == 5 and self.trainer.global_rank == COUNT - 1:
            misbehave()
        if index == 5 and FAULT == "store" and self.trainer.global_rank == 0:
            os.kill(int(os.environ["STORE_PID"]), signal.SIGKILL)
        return self.net(batch).pow(2).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


def prepare(rank):
    """What is wrong with the last rank from the start."""
    if rank != COUNT - 1:
        return
    if FAULT == "breaks":
        Session.batch_started = lambda self: 1 / 0
    if FAULT == "version":
        publishing.SCHEMA = 99
        ranks_module.metadata.version = lambda name: "9.9.9"
    if FAULT == "deaf":
        listen, since = StopVote.listen, time.monotonic()
        StopVote.listen = lambda self, store: time.monotonic() - since > options["deaf_seconds"] and listen(self, store)


def train(rank, root, port):
    place = {"RANK": rank, "LOCAL_RANK": 0, "GROUP_RANK": rank, "WORLD_SIZE": COUNT, "LOCAL_WORLD_SIZE": 1}
    place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "job"}
    os.environ.update({name: str(value) for name, value in place.items()})
    prepare(rank)
    callbacks = []
    if options["with"] and not (FAULT == "missing" and rank == COUNT - 1):
        budget = {"budget": f"{options['budget']} steps", "on_budget": "stop"} if options["budget"] else {}
        callbacks = [FlopWatch(every_n_steps=3, peak_flops_per_second=1e12, report=False, dirpath=root, **budget)]
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        num_nodes=COUNT,
        strategy="ddp",
        max_steps=options["steps"],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
        default_root_dir=root,
    )
    trainer.fit(Model(), DataLoader(torch.randn(options["steps"] * 2 * COUNT, 8), batch_size=2))
    Path(root, f"steps-{rank}").write_text(str(trainer.global_step))


def run_child(rank, root, port):
    try:
        train(rank, root, port)
    except BaseException as error:
        print(rank, repr(error)[:200], file=sys.stderr)
        os._exit(1)
    sys.stderr.flush()
    os._exit(0)


def serve_store(port):
    store = torch.distributed.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    time.sleep(600)
    del store


def main():
    root, port = tempfile.mkdtemp(), free_port()
    if FAULT == "store":
        os.environ["TORCHELASTIC_USE_AGENT_STORE"], os.environ["TORCHELASTIC_RESTART_COUNT"] = "True", "0"
        server = os.fork()
        if not server:
            serve_store(port)
        os.environ["STORE_PID"] = str(server)
        time.sleep(0.5)
    started, children, codes = time.monotonic(), {}, {}
    for rank in range(COUNT):
        child = os.fork()
        if not child:
            run_child(rank, root, port)
        children[child] = rank
    while children and time.monotonic() - started < 90:
        for child in list(children):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                codes[children.pop(child)] = os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    seconds, hung = time.monotonic() - started, len(children)
    for child in children:
        os.kill(child, signal.SIGKILL)
    steps = {int(path.name[6:]): int(path.read_text()) for path in Path(root).glob("steps-*")}
    lines = [line for path in Path(root).glob("run*.jsonl") for line in path.read_text().splitlines()]
    records = [json.loads(line) for line in lines]
    end = next((record for record in records if record["kind"] == "end"), None)
    told = {"seconds": round(seconds, 2), "hung": hung, "codes": [codes.get(rank) for rank in range(COUNT)]}
    told |= {"steps": [steps.get(rank) for rank in range(COUNT)], "flops_per_batch": FLOPS_PER_BATCH}
    told |= {"flops": end and end["totals"].get("flops", 0), "status": end and end["status"]}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
