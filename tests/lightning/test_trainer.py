from types import SimpleNamespace

import pytorch_lightning as pl

from flopwatch.lightning.trainer import TrainingLoop, logging_step
from tests.lightning.models import trainer


def test_a_trainer_of_this_lightning_has_all_that_is_read(tmp_path):
    one = trainer(tmp_path)
    one.strategy.connect(pl.LightningModule())
    missing = [name for name in TrainingLoop.__annotations__ if not hasattr(type(one), name) and not hasattr(one, name)]
    assert missing == []


def test_the_axis_is_that_of_lightnings_own_logging():
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(_batches_that_stepped=9))
    assert logging_step(SimpleNamespace(fit_loop=loop, global_step=18)) == 9


def test_this_lightning_has_the_axis_where_it_is_looked_for(tmp_path):
    assert logging_step(trainer(tmp_path)) == 0
