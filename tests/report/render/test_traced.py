"""What a trace's own page and a run's report tell alike."""

import pytest

from flopwatch.report.render.traced import OPERATORS, note_sentences, operators_section, shapes_text
from flopwatch.trace import read_trace
from tests.trace import traces
from tests.trace.traces import H100, kernel, launch, operator


def row(tmp_path, name, *shapes, kernel_name=traces.GEMM, **more):
    """The only row of an operator in a trace."""
    events = [operator(0, 2, name, *shapes, **more), launch(1, 1), kernel(0, 200, kernel_name, correlation=1)]
    section = operators_section(read_trace(traces.written(tmp_path / "t.json", *events, **H100)).first)
    assert section.heading == OPERATORS
    return dict(zip(section.columns, section.rows[0], strict=True))


def test_a_product_has_its_rate_and_what_bounds_it(tmp_path):
    # 2 * 4096 ** 3 FLOPs in 200 us: 687 TFLOP/s of 989.4
    assert row(tmp_path, "aten::mm", (4096, 4096), (4096, 4096)) == {
        "operator": "mm",
        "shapes": "4096x4096 4096x4096",
        "calls": "1",
        "a step": "0.2 ms",
        "FLOP/s": "687 T",
        "of the peak": "69.5%",
        "bound by": "compute",
    }


def test_columns_of_nothing_are_left_out(tmp_path):
    found = row(tmp_path, "aten::gelu", (8, 16), kernel_name=traces.ELEMENTWISE)
    assert found == {"operator": "gelu", "shapes": "8x16", "calls": "1", "a step": "0.2 ms"}


def test_a_backward_is_told_and_long_names_keep_both_ends(tmp_path):
    backward = {"Sequence number": 3, "Fwd thread id": 1}
    assert row(tmp_path, "aten::mm", (8, 16), (16, 8), **backward)["operator"] == "mm, backward"
    name = row(tmp_path, "fused_" + "a" * 100 + "_of_layer_7", (8, 16))["operator"]
    assert (len(name), name[:7], name[-11:]) == (60, "fused_a", "_of_layer_7")


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (((8, 16), (16, 4)), "8x16 16x4"),
        (((), ((2, 3), (2, 4)), ()), "2x3 2x4"),  # a list of tensors, as cat has
        (((256,), (512, 256), (256, 64)), "512x256 256x64"),  # a bias says less than the matrices
        (((256,), (256,)), "256 256"),
        (((1, 2),) * 4, "1x2 1x2 1x2 ..."),
        ((), ""),
    ],
)
def test_shapes_as_words(shapes, words):
    assert shapes_text(shapes) == words


def test_notes_are_sentences():
    assert note_sentences(["the trace has no device events"]) == ["The trace has no device events."]
