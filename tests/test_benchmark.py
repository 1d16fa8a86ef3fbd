import pytest
import torch

from flopwatch import benchmark


def test_the_fastest_multiplication_wins(monkeypatch):
    # 512, 1024 and 2048 cubed take 1, 4 and 64 s: 2 * 1024^3 / 4 = 5.4e8 FLOP/s is the best.
    seconds = {512: 1.0, 1024: 4.0, 2048: 64.0}
    monkeypatch.setattr(benchmark, "_best_seconds", lambda size, dtype, device: seconds[size])
    peak = benchmark.measure_peak("fp32", torch.device("cpu"))
    assert peak.flops_per_second == 2 * 1024**3 / 4
    assert peak.source.startswith("measured: 1024 x 1024 fp32 matmul at 537 MFLOP/s on ")


def test_a_real_measurement_is_plausible():
    peak = benchmark.measure_peak("fp32", torch.device("cpu"))
    # Any CPU does more than a GFLOP/s and none a PFLOP/s.
    assert 1e9 < peak.flops_per_second < 1e15


def test_a_precision_without_a_plain_matmul_is_refused():
    with pytest.raises(KeyError):
        benchmark.measure_peak("fp4", torch.device("cpu"))
