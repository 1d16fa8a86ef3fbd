"""`flopwatch report --wandb`: a report page in W&B."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence

from flopwatch.errors import (
    ArgumentError,
)

_LONGEST_TITLE = 100


def report_to_wandb(arguments: argparse.Namespace) -> None:
    """Make a report page of a project or of runs in W&B."""
    from flopwatch.report.comparison import entry_of_ended
    from flopwatch.report.render.wandb import texts
    from flopwatch.wandb.online import connect, ended_runs, parse_run
    from flopwatch.wandb.reports import save_report

    if arguments.plan is not None:
        raise ArgumentError("expected --plan without --wandb: a W&B Report cannot show a plan")
    if arguments.output is not None or arguments.format is not None:
        raise ArgumentError("expected no -o and no --format with --wandb: the report is created in W&B")
    paths = [parse_run(text) for text in arguments.runs]
    project = paths[0].project
    if any(path.project != project for path in paths):
        raise ArgumentError("expected runs of a single project with --wandb: a W&B Report belongs to one project")
    api = connect()
    runs = {run_.id: run_ for path in paths for run_ in ended_runs(api, path)}
    whole = any(path.id is None for path in paths)
    title = f"flopwatch: {project.name if whole else _names(tuple(runs))}"
    entries = [entry_of_ended(each) for each in runs.values()]
    saved = save_report(project, tuple(runs), title, texts(entries), arguments.prefix)
    print(f"{'created' if saved.created else 'updated'} {saved.url}")


def _names(run_ids: Sequence[str]) -> str:
    """A title that is the same for the same runs and for no others."""
    names = ", ".join(sorted(run_ids))
    if len(names) <= _LONGEST_TITLE:
        return names
    return f"{len(run_ids)} runs, {hashlib.sha256(names.encode()).hexdigest()[:8]}"
