"""The trace's text and page."""

import pytest

from flopwatch.report.render.trace import gain_text, render_html, render_text
from flopwatch.trace import Advice, read_trace
from tests.report.render.test_renderers import Page
from tests.trace import traces
from tests.trace.traces import GEMM, H100, annotation, copy, kernel, launch, operator

NCCL = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"


def written(path, name="aten::mm", rank=0, late=0):
    return traces.written(
        path,
        operator(0, 2, name, (4096, 4096), (4096, 4096)),
        launch(1, 1),
        kernel(0, 200, GEMM, correlation=1),
        kernel(200, 250),
        kernel(250 + late, 300, NCCL, stream=20),
        copy(300, 320),
        launch(330, 2),
        kernel(340, 400, "a_very_long_name_of_a_kernel_that_nobody_knows" * 3, correlation=2),
        **H100,
        distributedInfo={"rank": rank, "world_size": 2},
    )


@pytest.fixture
def report(tmp_path):
    return read_trace(written(tmp_path / "t.json"))


@pytest.fixture
def ranks(tmp_path):
    return read_trace([written(tmp_path / "0.json"), written(tmp_path / "1.json", rank=1, late=30)])


def test_the_text_says_where_the_time_went(report):
    text = render_text(report)
    assert text.startswith("NVIDIA H100 80GB HBM3: 1 rank of 2, 1 profiled step of 0.4 ms\n")
    lines = {line.split("  ")[0]: line.split() for line in text.splitlines()}
    assert text.count("What to do\n----------\n") == 1
    assert lines["matrix products"][2:4] == ["0.200", "50.0%"]
    assert lines["communication, not hidden"][3:5] == ["0.050", "12.5%"]
    assert lines["idle: the host was late"][5:7] == ["0.020", "5.0%"]
    assert lines["in all"][2:] == ["0.400", "100.0%"]
    # 2 * 4096 ** 3 / 200 us = 687.2 TFLOP/s, 69.5% of the peak; 34.7% over the whole 400 us, of what is known
    assert "Matrix products do 687 TFLOP/s, 69.5% of the bf16 peak of 989 TFLOP/s. The steps get 34.7%" in " ".join(
        text.split()
    )
    assert lines["mm"][1:] == ["4096x4096", "1", "0.2", "ms", "687", "T", "69.5%", "compute"]
    assert "of kernel time is in kernels of unknown kind" in " ".join(text.split())
    assert "Launch-bound (at most 1.8 points of MFU, 5.0% of the step)" in " ".join(text.split())


def test_ranks_and_who_waits_for_whom(ranks):
    text = " ".join(render_text(ranks).split())
    assert "2 ranks, 1 profiled step" in text
    # rank, collectives, waits, transfers, others wait: 30 us late, 20 us together
    assert "0 1 0.030 0.020 0.000" in text
    assert "1 1 0.000 0.020 0.030" in text


def test_no_line_is_wider_than_a_terminal(report, ranks):
    for each in (report, ranks):
        assert max(len(line) for line in render_text(each).splitlines()) <= 80


def test_the_page_says_the_same_and_needs_no_network(report, ranks):
    for each in (report, ranks):
        page = render_html(each)
        assert Page(page).loads == []
        assert len(page) < 300_000
        text = " ".join(Page(page).text.split())
        for said in ("50.0%", "687 TFLOP/s", "Launch-bound", "What to do", "4096x4096"):
            assert said in text


def test_what_a_trace_names_cannot_become_markup(tmp_path):
    evil = "<script>alert(1)</script>\x1b[31m\u202e"
    path = traces.written(
        tmp_path / "t.json",
        operator(0, 2, evil, (3, 4)),
        launch(1, 1),
        kernel(3, 9, evil, correlation=1),
        deviceProperties=[{"id": 0, "name": evil}],
    )
    report = read_trace(path)
    assert "<script>" not in render_html(report)
    assert "\x1b" not in render_html(report) + render_text(report)
    assert "\u202e" not in render_html(report) + render_text(report)


def test_products_of_which_a_part_is_known_are_told_as_such(tmp_path):
    # Of 0.4 ms of products the shapes of 0.2 ms were recorded.
    events = [operator(0, 2, "aten::mm", (4096, 4096), (4096, 4096)), launch(1, 1), kernel(0, 200, GEMM, correlation=1)]
    path = traces.written(tmp_path / "t.json", *events, kernel(200, 400, GEMM), **H100)
    text = " ".join(render_text(read_trace(path)).split())
    assert "Matrix products in bf16 with known shapes (50.0% of all products' time) do 687 TFLOP/s, 69.5% of" in text
    assert "(MFU)" not in text


def test_gains_that_round_to_nothing_are_left_out():
    assert gain_text(Advice("gaps", "", "", 0.05, 0.018)) == "at most 1.8 points of MFU, 5.0% of the step"
    assert gain_text(Advice("gaps", "", "", 0.05, 0.0004)) == "at most 5.0% of the step"
    assert gain_text(Advice("gaps", "", "", 0.05, None)) == "at most 5.0% of the step"


def test_waiting_for_data_is_a_part_of_its_own(tmp_path):
    loader = annotation(0, 60, "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__")
    path = traces.written(tmp_path / "t.json", annotation(0, 100, "ProfilerStep#1"), loader, kernel(60, 100), **H100)
    report = read_trace(path)
    for page in (render_text(report), Page(render_html(report)).text):
        text = " ".join(page.split())
        assert "idle: waiting for data 0.060 60.0%" in text
        assert "Data loading is slow" in text
