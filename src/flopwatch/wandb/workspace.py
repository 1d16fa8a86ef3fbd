"""The live dashboard: a saved view of a project's workspace, described without a network, made or updated with one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flopwatch.wandb.live import STEP_AXIS, SUMMARY
from flopwatch.wandb.online import Project, View, connect, guarded, views_of, workspaces
from flopwatch.wandb.panels import ACROSS_RUNS, FLOPS, PAGE, SECTIONS, TABLES, Panel, PanelSection

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

NAME = "flopwatch"
_COLUMNS = 3
_SMOOTHING = {"smoothing_type": "exponentialTimeWeighted", "smoothing_factor": 0.6, "smoothing_show_original": True}
_PERSONAL = "nw-nwuser"  # how W&B names each user's own workspace, which is nobody else's to write


@dataclass(frozen=True)
class Saved:
    """The URL of a saved view, and whether it is new."""

    url: str
    created: bool


def specification(project: Project, name: str = NAME, prefix: str = "") -> dict[str, Any]:
    """Build the view as W&B stores it, without using the network.

    Args:
        project: The project that it is of.
        name: The view's title.
        prefix: What stands before every key, as written by a prefix of the logger ("exp1-") or of FlopWatch ("mine/").

    Raises:
        WandbError: If wandb-workspaces is not installed.
    """
    model = _workspace(project, name, prefix)._to_model()
    found: dict[str, Any] = model.model_dump(by_alias=True, exclude_none=True, mode="json")
    return found


def save(project: Project, name: str = NAME, prefix: str = "") -> Saved:
    """Make the view, or bring the one that was made before up to date; a view of someone else is left alone.

    Raises:
        WandbError: If wandb-workspaces is not installed, nobody is logged in, or W&B refuses.
    """
    workspace = _workspace(project, name, prefix)
    api = connect()
    user, views = views_of(api, project, "project-view")
    slug = _slug(project, user, name)
    earlier = _earlier(views, slug, user, name)
    # The package has no public way to say which view is meant.
    workspace._internal_name = earlier.name if earlier else slug
    workspace._internal_id = earlier.id if earlier else ""
    with guarded():
        workspace.save()  # type: ignore[no-untyped-call]
        return Saved(str(workspace.url), earlier is None)


def _slug(project: Project, user: str | None, name: str) -> str:
    """The internal name of our view, the same at every call; W&B's own have eleven characters, too."""
    digest = hashlib.sha256(f"{project}/{user}/{name}".encode()).hexdigest()
    return f"nw-fw{digest[:9]}-v"


def _earlier(views: list[View], slug: str, user: str | None, name: str) -> View | None:
    """Our view of an earlier call: by its internal name or, if it was made by hand, this user's newest of the title."""
    own = [
        each
        for each in views
        if each.name == slug
        or (user and each.user == user and each.title == name and not each.name.startswith(_PERSONAL))
    ]
    return max(own, key=lambda each: (each.name == slug, each.updated_at), default=None)


def _workspace(project: Project, name: str, prefix: str) -> Workspace:
    ws, _ = workspaces()
    with guarded():
        made: Workspace = ws.Workspace(
            entity=project.entity,
            project=project.name,
            name=name,
            sections=[*(_section(each, prefix) for each in SECTIONS), _across_runs(prefix), _end_section()],
            settings=ws.WorkspaceSettings(x_axis=STEP_AXIS, smoothing_type="none", max_runs=20),
        )
    return made


def _section(section: PanelSection, prefix: str) -> Any:
    ws, _ = workspaces()
    return ws.Section(
        name=section.name,
        is_open=section.is_open,
        panels=[_named(line_plot(panel, prefix), section.name, panel.title) for panel in section.panels],
        layout_settings=ws.SectionLayoutSettings(columns=_COLUMNS, rows=-(-len(section.panels) // _COLUMNS)),
    )


def line_plot(panel: Panel, prefix: str) -> Any:
    """Return a chart of the reports package; over steps it sets no axis, so that the workspace's setting applies."""
    _, wr = workspaces()
    smoothing: Mapping[str, Any] = _SMOOTHING if panel.smoothed else {"smoothing_type": "none", "smoothing_factor": 0}
    return wr.LinePlot(
        title=panel.title,
        x=f"{prefix}{panel.axis}" if panel.axis else None,
        y=[f"{prefix}{key}" for key in panel.keys],
        title_x=panel.axis and panel.axis.partition("/")[2].replace("_", "-"),
        title_y=panel.unit,
        **smoothing,
    )


def _across_runs(prefix: str) -> Any:
    """Return what compares runs: a point for each, of its cost and its last loss, and how they differ."""
    ws, wr = workspaces()
    panels = [
        wr.ScatterPlot(
            title=f"{title} over FLOPs",
            x=wr.SummaryMetric(f"{prefix}{FLOPS}"),
            y=wr.SummaryMetric(f"{prefix}{key}"),
            log_x=True,
            running_ymin=True,
        )
        for title, key in ACROSS_RUNS
    ]
    panels.append(wr.RunComparer(diff_only="split"))
    named = [_named(panel, "across", str(number)) for number, panel in enumerate(panels)]
    layout = ws.SectionLayoutSettings(columns=_COLUMNS, rows=1)
    return ws.Section(name="Across runs", is_open=True, panels=named, layout_settings=layout)


def _end_section() -> Any:
    """Return the panels of what is attached to an ended run."""
    ws, wr = workspaces()
    panels = [wr.MediaBrowser(title="Efficiency report", media_keys=[f"{SUMMARY}/{PAGE}"], num_columns=1)]
    panels += [wr.WeavePanelSummaryTable(table_name=f"{SUMMARY}/{name}") for name in TABLES]
    named = [_named(panel, "end", str(number)) for number, panel in enumerate(panels)]
    layout = ws.SectionLayoutSettings(columns=_COLUMNS, rows=1)
    return ws.Section(name="After the run", is_open=False, panels=named, layout_settings=layout)


def _named(panel: Any, *words: str) -> Any:
    """Return the panel with a stable ID, so that an update replaces it; the package would use a random one."""
    panel._id = hashlib.sha256("/".join(words).encode()).hexdigest()[:12]
    return panel
