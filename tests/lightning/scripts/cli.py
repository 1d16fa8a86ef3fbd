"""A LightningCLI that knows nothing of flopwatch."""

from pytorch_lightning import LightningDataModule
from pytorch_lightning.cli import LightningCLI

from tests.lightning.models import TinyGPT, loader


class Module(TinyGPT):
    def __init__(self):
        super().__init__()


class Data(LightningDataModule):
    def train_dataloader(self):
        return loader()


LightningCLI(Module, Data, save_config_callback=None)
