"""A W&B Report of runs that have ended: text that was rendered elsewhere above the charts of the dashboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flopwatch.wandb.online import Project, connect, guarded, views_of, workspaces
from flopwatch.wandb.panels import SECTIONS, PanelSection
from flopwatch.wandb.workspace import Saved, line_plot

_REPORTS = "runs"  # what W&B calls the kind of view that a report is
_LONGEST_TITLE = 128
_WIDTH, _HEIGHT, _IN_A_ROW = 12, 8, 2  # in W&B's grid of 24 columns


@dataclass(frozen=True)
class Text:
    """A heading and Markdown below it."""

    heading: str
    markdown: str


def save_report(project: Project, run_ids: Sequence[str], title: str, texts: Sequence[Text], prefix: str = "") -> Saved:
    """Make the report, or bring this user's report of the same title up to date.

    Args:
        project: The project of the runs.
        run_ids: The runs whose charts are shown.
        title: The report's title.
        texts: What stands above the charts.
        prefix: What stands before every key.

    Raises:
        WandbError: If wandb-workspaces is not installed, nobody is logged in, or W&B refuses.
    """
    _, wr = workspaces()
    title = title[:_LONGEST_TITLE]
    user, views = views_of(connect(), project, _REPORTS)
    mine = [each for each in views if each.title == title and user and each.user == user]
    earlier = max(mine, key=lambda each: each.updated_at, default=None)
    with guarded():
        blocks = [block for text in texts for block in (wr.H2(text.heading), wr.MarkdownBlock(text.markdown))]
        blocks += [block for section in SECTIONS for block in _charts(project, run_ids, section, prefix)]
        report = wr.Report(
            entity=project.entity, project=project.name, title=title, width="fluid", blocks=[wr.H1(title), *blocks]
        )
        report.id = earlier.id if earlier else ""
        report.save()
        return Saved(str(report.url), earlier is None)


def _charts(project: Project, run_ids: Sequence[str], section: PanelSection, prefix: str) -> list[Any]:
    _, wr = workspaces()
    runs = wr.Runset(
        entity=project.entity, project=project.name, name="runs", filters=f"Metric('ID') in {list(run_ids)!r}"
    )
    panels = [line_plot(panel, prefix) for panel in section.panels]
    for place, panel in enumerate(panels):
        row, column = divmod(place, _IN_A_ROW)
        panel.layout = wr.Layout(x=_WIDTH * column, y=_HEIGHT * row, w=_WIDTH, h=_HEIGHT)
    return [wr.H2(section.name), wr.PanelGrid(runsets=[runs], panels=panels)]
