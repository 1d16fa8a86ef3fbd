"""Inference in real passes of a Trainer: forward FLOPs alone, whatever the step is called."""

import logging

import pytest
import torch

from flopwatch import FlopWatch
from flopwatch.lightning import inference
from tests.lightning.models import FLOPS_PER_BATCH, MemoryLogger, TinyGPT, loader, trainer

# Training is forward and twice as much backward; all pairs of attention are counted below, so it is "causal" here.
FORWARD = FLOPS_PER_BATCH // 3


class Evaluated(TinyGPT):
    def test_step(self, batch, batch_idx):
        self.log("loss", self._loss(batch))

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        return self._loss(batch)


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by two seconds whenever it is looked at."""
    now = [0.0]

    def look():
        now[0] += 2.0
        return now[0]

    monkeypatch.setattr(inference, "timer_for", lambda device, _: inference_timer(look))
    return now


def inference_timer(look):
    from flopwatch.lightning.timing.device_time import HostTimer

    return HostTimer(look)


@pytest.mark.parametrize(("move", "stage"), [("validate", "validation"), ("test", "test"), ("predict", "predict")])
def test_a_pass_has_the_forward_flops_of_its_batches(tmp_path, clock, caplog, move, stage):
    caplog.set_level(logging.INFO, "flopwatch")
    logger = MemoryLogger()
    watch = FlopWatch(inference=True, peak_flops_per_second=FORWARD * 10, prefix="eval")
    one = trainer(tmp_path, watch, logger=logger)
    getattr(one, move)(Evaluated(), loader(9))
    (row,) = [row for _, row in logger.rows if f"eval/perf/{stage}_mfu" in row]
    # The first of nine batches is warm-up: eight forwards of two sequences in two seconds, of a peak of ten a second.
    assert row[f"eval/perf/{stage}_mfu"] == pytest.approx(8 / 2 / 10)
    assert row[f"eval/perf/{stage}_device_samples_per_sec"] == 8
    assert row[f"eval/perf/{stage}_device_tflops_per_sec"] == pytest.approx(4 * FORWARD / 1e12)
    assert f"{stage}: " in caplog.text


def test_validation_within_a_fit_is_metered_and_its_sanity_check_is_not(tmp_path):
    logger = MemoryLogger()
    watch = FlopWatch(inference=True, peak_flops_per_second=1e9, every_n_steps=2)
    one = trainer(tmp_path, watch, logger=logger, max_steps=6, val_check_interval=3, num_sanity_val_steps=2)
    one.fit(TinyGPT(), loader(), loader(4))
    rows = [(step, row) for step, row in logger.rows if "perf/validation_mfu" in row]
    assert len(rows) == 2
    assert not any(parameter.device.type == "meta" for parameter in one.lightning_module.parameters())
    assert any("perf/mfu" in row for _, row in logger.rows)


def test_without_asking_nothing_is_metered(tmp_path):
    logger = MemoryLogger()
    trainer(tmp_path, FlopWatch(), logger=logger).test(Evaluated(), loader(4))
    assert not any("perf/" in key for _, row in logger.rows for key in row)


def test_a_step_without_any_product_has_samples_and_no_flops(tmp_path, caplog):
    caplog.set_level(logging.INFO, "flopwatch")
    logger = MemoryLogger()

    class Deciding(Evaluated):
        def test_step(self, batch, batch_idx):
            return int(batch[0].sum()) if isinstance(batch, (list, tuple)) else int(batch.sum())

    trainer(tmp_path, FlopWatch(inference=True), logger=logger).test(Deciding(), loader(4))
    (row,) = [row for _, row in logger.rows if "perf/test_device_samples_per_sec" in row]
    assert "perf/test_device_tflops_per_sec" not in row
    assert "no FLOPs" in caplog.text


def test_an_error_of_ours_does_not_end_a_pass(tmp_path, monkeypatch, caplog):
    def break_(*arguments):
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(inference.InferenceMeter, "batch_ended", break_)
    seen = []

    class Counting(Evaluated):
        def test_step(self, batch, batch_idx):
            seen.append(batch_idx)

    trainer(tmp_path, FlopWatch(inference=True)).test(Counting(), loader(4))
    assert seen == [0, 1, 2, 3]
    assert caplog.text.count("inference is not metered: RuntimeError: broken on purpose") == 1


def test_batches_of_other_shapes_cost_what_they_are(tmp_path, clock):
    logger = MemoryLogger()
    watch = FlopWatch(inference=True, peak_flops_per_second=1e12, attention="full")
    rows = torch.zeros(7, 16, dtype=torch.long)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(rows, rows), batch_size=2)
    trainer(tmp_path, watch, logger=logger).predict(Evaluated(), data)
    (row,) = [row for _, row in logger.rows if "perf/predict_mfu" in row]
    # After the first batch: two of two sequences and one of one. With all pairs the core of a 16-token sequence is
    # 2 layers x 2 heads x (4 + 4) x 2 FLOPs x 256 pairs = 16,384 beside the 57,344 of its products.
    assert row["perf/predict_device_tflops_per_sec"] == pytest.approx(5 * (57_344 + 16_384) / 2 / 1e12)
