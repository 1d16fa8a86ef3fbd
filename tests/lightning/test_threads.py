"""Two fits in two threads of one process."""

import sys
import threading

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from flopwatch import FlopWatch
from flopwatch.run.run_file import read_run
from tests.lightning.models import trainer


class Square(pl.LightningModule):
    def __init__(self, size):
        super().__init__()
        self.layer = torch.nn.Linear(size, size)

    def training_step(self, batch, batch_idx):
        return self.layer(batch[0]).pow(2).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_two_fits_count_apart_and_leave_the_process_as_it_was(tmp_path):
    before, failed = (sys.stdout, sys.stderr, torch.distributed.barrier), []

    def fit(size):
        try:
            data = DataLoader(TensorDataset(torch.randn(40, size)), batch_size=4)
            trainer(tmp_path / str(size), FlopWatch(every_n_steps=2)).fit(Square(size), data)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=fit, args=(size,)) for size in (8, 16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    for size in (8, 16):
        (segment,) = read_run(tmp_path / str(size)).segments
        # Ten batches of 4 rows: size x size multiply-adds forward, as many for the weights.
        assert segment.end.totals.counts.flops == 10 * 2 * 2 * 4 * size * size
        assert segment.work.verification == "watched"
    assert (sys.stdout, sys.stderr, torch.distributed.barrier) == before
