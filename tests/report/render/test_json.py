import json as stdlib
from dataclasses import fields

import pytest

from flopwatch.report.render import json
from flopwatch.report.report import Report
from tests.report.render.test_facts import healthy, totals


def read(report):
    return stdlib.loads(json.render(report), parse_constant=pytest.fail)


def test_every_field_of_the_report_is_there_in_base_units():
    values = read(healthy())
    assert set(values) == {"verdict", *(each.name for each in fields(Report))}
    assert values["verdict"][0].startswith("40% MFU")
    assert (values["mfu"], values["wall_seconds"], values["device"]["peak_flops_per_second"]) == (0.4, 35.0, 1e15)
    assert values["seconds"]["training"] == 22.0


def test_flops_are_whole_numbers_however_large():
    assert read(healthy(totals=totals(flops=10**30 + 1)))["totals"]["flops"] == 10**30 + 1


def test_unknown_and_what_no_json_can_hold_are_null():
    values = read(healthy(mfu=float("inf"), hfu=None, seconds={"training": float("nan")}))
    assert (values["mfu"], values["hfu"], values["seconds"]) == (None, None, {"training": None})


def test_it_ends_with_a_line_break():
    assert json.render(healthy()).endswith("}\n")
