import pytest
import torch

from flopwatch.measure.operators import is_another_packages, is_composite, is_free, is_heavy
from tests.measure.test_packages import watched

aten, X = torch.ops.aten, torch.zeros(3, 3)
WHOLE = torch.zeros(3, 3, dtype=torch.long)


@pytest.mark.parametrize(
    ("operator", "args", "free"),
    [
        (aten.add.Tensor, (X, X), True),  # tagged pointwise
        (aten.gelu_backward.default, (X, X), True),  # the gradient of what is
        (aten.view.default, (X, [9]), True),  # a view
        (aten._foreach_mul_.List, ([X], [X]), True),  # an optimizer's
        (aten.native_layer_norm.default, (X, [3], X[0], X[0], 1e-5), True),  # by the list
        (aten.linalg_qr.default, (X,), False),  # one input is enough to be work
        (aten.mm.default, (X, X), False),
        (aten._pdist_forward.default, (X,), True),  # one input of PyTorch's own is no product
        (torch.ops.c10d.barrier.default, (), True),
        (torch.ops.higher_order.cond, (), False),
    ],
    ids=str,
)
def test_what_multiplies_no_matrices_is_free(operator, args, free):
    assert is_free(operator, args, {}) is free


@pytest.fixture
def foreign():
    with torch.library._scoped_library("flopwatch_operators", "FRAGMENT") as library:
        library.define("mix(Tensor a, Tensor b) -> Tensor")
        yield torch.ops.flopwatch_operators.mix.default


def test_another_packages_operator_is_free_only_without_a_float(foreign):
    assert is_another_packages(foreign)
    assert not is_free(foreign, (X, WHOLE), {})
    assert not is_free(foreign, (), {"a": X})
    assert is_free(foreign, (WHOLE, WHOLE), {})


def test_torchs_own_are_no_other_packages():
    assert not any(map(is_another_packages, (aten.mm.default, torch.ops.c10d.barrier.default)))


@pytest.mark.parametrize(
    ("name", "heavy"),
    [
        ("aten.linalg_qr", True),
        ("aten.linalg_qr_", True),
        ("aten.add", False),
        ("higher_order.cond", True),
        ("torch_attn._varlen_attn", True),
        ("flash_attn._flash_attn_forward", True),
        ("somebodys.gather", False),
    ],
)
def test_what_is_known_for_heavy_work(name, heavy):
    assert is_heavy(name) is heavy


def test_inference_mode_leaves_whole_what_is_taken_apart_elsewhere():
    assert is_composite(aten.einsum.default)
    # These have a formula, or one kernel of their own.
    assert not any(map(is_composite, (aten.linear.default, aten.mm.default, aten.add.Tensor)))


def test_other_operators_that_are_given_functions_run_and_withhold():
    step = lambda: torch.cond(X.sum() > 0, lambda x: x @ x, lambda x: x + x, (X,))  # noqa: E731
    assert [each.operator for each in watched(step).missing] == ["higher_order.cond"]
