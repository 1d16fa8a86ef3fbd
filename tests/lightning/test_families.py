"""Every family in a real fit, at full depth, with its own weights and kernels: verified by the batches that run."""

import pytest
import torch

from flopwatch.model.backward import training_flops
from flopwatch.model.families import architecture_of
from tests.lightning.test_kinds_of_work import Model, fit
from tests.model.families.families import FAMILIES
from tests.model.families.models import batch_of, build, config_of, inputs_of


class Whole(Model):
    def training_step(self, batch, batch_idx):
        out = self.model(**batch)
        return (out.logits if hasattr(out, "logits") else out[0]).float().mean()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_verified_in_a_real_fit(tmp_path, name):
    torch.manual_seed(0)
    model = build(name, attention="sdpa", device="cpu") or build(name, attention="eager", device="cpu")
    batch = batch_of(name, 40)
    run = fit(tmp_path, Whole(model), [inputs_of(name, batch)] * 2)
    assert run.work.verification == "verified", run.work.note
    assert run.end.totals.flops == 2 * training_flops(architecture_of(config_of(name)), batch)
