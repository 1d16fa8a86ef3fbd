"""Charts as coordinates; the axes are 100,000 long, and the vertical one begins at the top."""

from flopwatch.report.render.charts import Area, Chart, Line, Mark, Stack
from flopwatch.report.render.drawing import Label, Stroke, drawings, shared_keys

LINE = Line("MFU", "mfu", ((0.0, 0.0), (50.0, 0.2), (50.0, None), (100.0, 0.4)))
CHART = Chart("MFU", "percent", (LINE,), until=100.0, high=0.4)


def test_a_line_is_lifted_at_a_gap():
    (drawn,) = drawings(Stack((CHART,)))
    assert drawn.lines == (Stroke("mfu", "M0 100000L50000 50000M100000 0"),)


def test_labels_stand_where_their_values_are():
    (drawn,) = drawings(Stack((CHART,)))
    assert drawn.values == (
        Label("0.00", "0%"),
        Label("25.00", "10%"),
        Label("50.00", "20%"),
        Label("75.00", "30%"),
        Label("100.00", "40%"),
    )
    assert drawn.across[1] == Label("15.00", "15s")
    assert drawn.grid.startswith("M0 100000H100000M0 75000H100000")


def test_a_chart_may_be_over_something_else_than_time():
    loss = Line("train/loss", "loss", ((0.0, 3.25), (2e18, 2.5)))
    (drawn,) = drawings(Stack((Chart("Loss", "plain", (loss,), until=2e18, high=4.0, low=2.0, across="flops"),)))
    assert [label.words for label in drawn.across[:3]] == ["0 FLOPs", "500 PFLOPs", "1 EFLOPs"]
    assert [label.words for label in drawn.values] == ["2", "2.5", "3", "3.5", "4"]
    assert drawn.spoken == "Loss; train/loss from 2.5 to 3.25, last 2.5."


def test_the_chart_can_be_heard():
    (drawn,) = drawings(Stack((CHART,)))
    assert drawn.spoken == "MFU; MFU from 0% to 40%, last 40%."


def test_every_line_and_area_has_a_legend_and_areas_are_closed():
    dashed = Line("expected", "reference", ((0.0, 0.0), (100.0, 0.4)), style="dashed")
    area = Area("80% interval", "mfu", ((0.0, 0.0), (50.0, 0.4), (100.0, 0.4)))
    (drawn,) = drawings(Stack((Chart("B", "share", (LINE, dashed), 100.0, 0.4, areas=(area,)),)))
    assert [(key.name, key.tone) for key in drawn.keys] == [
        *(("MFU", "mfu"), ("expected", "reference dashed"), ("80% interval", "mfu area")),
    ]
    assert drawn.areas == (Stroke("mfu", "M0 100000L50000 0L100000 0Z"),)


def test_marks_are_in_every_chart_and_their_words_in_the_first():
    marks = (
        Mark("note", 25.0, "look"),
        Mark("slow stretch", 50.0, "slow", 10.0),
        Mark("restart", 75.0),
        Mark("validation", 10.0),
        Mark("validation", 20.0),
    )
    stack = Stack((CHART, CHART), marks)
    first, second = drawings(stack)
    assert (first.notes, second.notes) == ((Label("25.00", "look"),), (Label("25.00", ""),))
    assert (first.bands, second.bands) == (((50_000, 10_000, "slow"),), ((50_000, 10_000, ""),))
    assert first.ticks == second.ticks
    assert first.ticks == (
        Stroke("restart", "M75000 0V100000"),
        Stroke("validation", "M10000 93000V100000M20000 93000V100000"),
    )
    assert [key.name for key in shared_keys(stack)] == ["restart", "validation", "slow stretch", "note"]
