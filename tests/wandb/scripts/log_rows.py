"""Logs so many rows to W&B offline, some of them with a long text."""

import sys

import wandb

from flopwatch.wandb.online import disconnect

run = wandb.init(mode="offline", project="p")
for step in range(int(sys.argv[1])):
    words = "w" * (40_000 if step % 50 == 49 else 10)
    run.log({"trainer/global_step": step, "perf/mfu": step / 1000, "words": words, "nested": {"a": step}})
run.finish()
disconnect()
