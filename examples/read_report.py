"""The report as Python objects, for a notebook or a nightly check: `python examples/read_report.py runs`."""

import sys
from pathlib import Path

import flopwatch


def main() -> None:
    run = flopwatch.load(sys.argv[1] if len(sys.argv) > 1 else "runs")
    report = run.report
    # Base units: FLOPs, seconds, fractions. What is not known is None.
    print(f"{report.totals.counts.flops} FLOPs in {report.step} steps, {report.status}")
    print(f"MFU {report.mfu} in the training loop, {report.run_mfu} over all wall time")
    print(f"held against {report.device.peak_flops_per_second} FLOP/s: {report.device.peak_source}")
    for part in report.parts:  # where the peak went, to the integer
        print(f"{part.kind:12} {part.device_seconds:10.1f} device-seconds  {part.flops} FLOPs")
    for finding in report.findings:
        print(f"{finding.kind} costs {finding.share:.1%} of its time")
    Path("report.md").write_text(run.render("md"))
    if report.goodput is not None and report.goodput < 0.5:
        print("less than half of the time went into training steps")


if __name__ == "__main__":
    main()
