"""Reading what a module saved, whatever that is."""

from types import SimpleNamespace

import pytest
from pytorch_lightning import LightningModule

from flopwatch.lightning.session.module_hyperparameters import hyperparameters_of


class Module(LightningModule):
    def __init__(self, lr, optimizer, api_key="x"):
        super().__init__()
        self.save_hyperparameters()


class Failing:
    @property
    def hparams(self):
        raise RuntimeError("no")


def test_what_a_module_saved_is_read_without_secrets_and_without_what_is_nested():
    module = Module(0.001, {"class_path": "torch.optim.AdamW"})
    assert hyperparameters_of(SimpleNamespace(lightning_module=module)) == {"lr": 0.001}
    assert hyperparameters_of(SimpleNamespace(lightning_module=LightningModule())) == {}


@pytest.mark.parametrize("module", [None, Failing(), SimpleNamespace(hparams=[1])])
def test_what_cannot_be_read_costs_nothing(module):
    assert hyperparameters_of(SimpleNamespace(lightning_module=module)) == {}
    assert hyperparameters_of(SimpleNamespace()) == {}
