import pytest
import torch

from flopwatch.hardware import benchmark


def test_the_fastest_multiplication_wins(monkeypatch):
    # 512, 1024 and 2048 cubed take 1, 4 and 64 ms: 2 * 1024^3 / 0.004 = 5.4e11 FLOP/s is the best.
    seconds = {512: 0.001, 1024: 0.004, 2048: 0.064}
    monkeypatch.setattr(benchmark, "_best_seconds", lambda size, dtype, device: seconds[size])
    peak = benchmark.measure_peak("fp32", torch.device("cpu"))
    assert peak.flops_per_second == 2 * 1024**3 / 0.004
    assert peak.source.startswith("measured: 1024 x 1024 fp32 matmul at 537 GFLOP/s on ")


def test_a_slow_precision_does_not_hold_up_the_start(monkeypatch):
    tried = []
    monkeypatch.setattr(benchmark, "_best_seconds", lambda size, dtype, device: tried.append(size) or 0.7)
    benchmark.measure_peak("fp16", torch.device("cpu"))
    assert tried == [512]


def test_a_real_measurement_is_plausible():
    peak = benchmark.measure_peak("fp32", torch.device("cpu"))
    # Any CPU does more than a GFLOP/s and none a PFLOP/s.
    assert 1e9 < peak.flops_per_second < 1e15


def test_a_precision_without_a_plain_matmul_is_refused():
    with pytest.raises(KeyError):
        benchmark.measure_peak("fp4", torch.device("cpu"))
