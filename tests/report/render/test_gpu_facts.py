from flopwatch.report.render.gpu_facts import hardware_lines
from tests.report.render.test_facts import healthy, totals


def test_what_the_gpus_did_and_what_could_not_be_read():
    lines = dict(hardware_lines(healthy(telemetry_coverage=0.5)))
    assert lines["throttled"] == "25.0% of the time (by the driver's counters): power cap 25.0%"
    assert lines["energy per token"] == "3.6 J"  # 1,200 W x 24 s of 8,000 tokens
    assert lines["coverage"] == "readings cover only 50.0% of the time"
    assert lines["not read"] == "utilization (Not Supported)"
    unread = dict(hardware_lines(healthy(sm_clock_hz=None, tensor_active=None, totals=totals(joules=None))))
    assert not {"SM clock", "energy", "tensor cores active"} & set(unread)
    assert "energy" not in dict(hardware_lines(healthy(totals=totals(joules=0))))
    assert hardware_lines(healthy(hardware=None)) == []
