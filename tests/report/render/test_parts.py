"""The table of the parts, on three hours of two kinds of devices."""

from dataclasses import replace

from flopwatch.report.render.parts import parts_table
from flopwatch.report.waterfall import Part
from tests.report.render.test_facts import healthy

PARTS = (
    Part("setup", 10**15, 3600.0, 2.0),
    Part("interruption", 2 * 10**15, 7200.0, 0.0),
    Part("rest", 3 * 10**15, 10_800.0, 6.0),
    Part("useful", 2 * 10**15, 7200.0, 4.0),
)
SECONDS = {"setup": 1800.0, "interruption": 3600.0, "training": 9000.0}


def test_what_is_not_billed_has_wall_time_but_neither_device_hours_nor_cost():
    table = parts_table(healthy(parts=PARTS, seconds=SECONDS, wall_seconds=14_400.0), counted=True)
    rows = {row[0]: row[1:] for row in table.rows}
    assert table.columns == ("", "share", "wall time", "FLOPs", "device-hours", "cost")
    assert rows["downtime between two processes"] == ("25.0%", "1h 00m", "2 PFLOPs", "0", "$0.00")
    # Six device-hours of eight: as many as the totals say, which know no downtime.
    assert rows["total"] == ("100.0%", "4h 00m", "8 PFLOPs", "6", "$12.00")


def test_the_time_of_training_steps_is_divided_as_their_device_time_is():
    table = parts_table(healthy(parts=PARTS, seconds=SECONDS), counted=True)
    rows = {row[0]: row[2] for row in table.rows}
    # 9,000 s in the proportion of 10,800 to 7,200.
    assert rows["kernels, communication, launch gaps"] == "1h 30m"
    assert rows["useful model FLOPs"] == "1h 00m"


def test_one_device_needs_no_device_time_and_without_a_price_there_is_no_cost():
    report = healthy(parts=tuple(replace(each, usd=None) for each in PARTS), seconds=SECONDS)
    process = report.each_process[0]
    alone = replace(report, each_process=(replace(process, device=replace(process.device, count=1)),))
    assert parts_table(alone, counted=True).columns == ("", "share", "wall time", "FLOPs")


def test_capacity_is_not_called_flops_where_flops_are_not_known():
    assert "FLOPs" not in parts_table(healthy(parts=PARTS, seconds=SECONDS), counted=False).columns


def test_little_device_time_is_told_without_an_exponent():
    parts = (Part("setup", None, 10.0, None), Part("training", None, 50.0, None))
    table = parts_table(healthy(parts=parts, seconds=SECONDS), counted=False)
    assert (table.columns[-1], table.rows[0][-1], table.rows[-1][-1]) == ("device time", "10s", "1m 00s")
    many = parts_table(healthy(parts=(*parts, Part("data_wait", None, 7200.0, None)), seconds=SECONDS), counted=False)
    assert (many.columns[-1], many.rows[0][-1]) == ("device-hours", "<0.01")
