"""Logs rows to W&B offline, then waits for a line."""

import sys
import time

import wandb

run = wandb.init(mode="offline", project="p")
run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
for step in range(40):
    row = {"perf/mfu": 0.4, "perf/step_seconds": 0.1, "budget/fraction": step / 100, "budget/flops": 1e18 * step}
    run.log({"trainer/global_step": step, "budget/device_hours": step / 100, "budget/hours_left": float("inf"), **row})
    time.sleep(0.05)
print("written", flush=True)
sys.stdin.readline()
