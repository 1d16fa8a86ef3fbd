"""Fused attention, by the kernels that the CPU has."""

from flopwatch.check.attention import check_attention, line, training_flops
from tests.check.machines_of import CPU

# 2 sequences x 4 heads x 256 x 257 / 2 pairs x 64 numbers x 2 products x 2 FLOPs, in forward and backward 3 times.
FLOPS = 3 * 2 * 4 * 32_896 * 64 * 4


def test_the_cpus_kernel_is_seen_and_counted():
    (found,) = check_attention(CPU)
    assert (found.outcome, found.expected, found.found) == ("pass", FLOPS, FLOPS)
    assert found.words == "forward and backward by flash"


def test_a_kernel_that_is_counted_wrongly_is_named():
    assert training_flops() == FLOPS
    found = line({"flash": FLOPS, "efficient": FLOPS // 2}, CPU)
    assert (found.outcome, found.found, found.words) == ("fail", FLOPS // 2, "forward and backward by efficient")


def test_without_a_fused_kernel_there_is_nothing_to_check():
    assert line({}, CPU).words == "PyTorch has no fused kernel for CPU"
