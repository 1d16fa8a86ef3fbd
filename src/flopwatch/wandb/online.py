"""Talking to a W&B server when a command asks for it: who is logged in, views, ended runs, and errors in one line."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from flopwatch.errors import ArgumentError, WandbError, in_one_line
from flopwatch.run.hyperparameters import Scalar, recordable
from flopwatch.units import quoted
from flopwatch.wandb.live import MARKS, STEP_AXIS, SUMMARY, TENSORBOARD_AXIS, prefix_of

_TIMEOUT_SECONDS = 10
_TEARDOWN_SECONDS = 5.0
_PAGE = 100
_NAME = re.compile(r"[^/\\#?%:\s][^/\\#?%:]*")  # what W&B allows
_ADDRESS = re.compile(r"(?:https?://[^/]+|wandb\.ai)/")
_LOSS_KEYS = (*MARKS, "budget/flops", "loss/train")
_NO_ROWS = "W&B has no rows with both loss and FLOPs"
_MOST_WITH_ROWS = 50  # runs, each of which takes a request or more
_VIEWS = """
query FlopwatchViews($entity: String!, $project: String!, $viewType: String, $limit: Int!, $cursor: String) {
  viewer { username }
  project(name: $project, entityName: $entity) {
    allViews(viewType: $viewType, first: $limit, after: $cursor) {
      edges { node { id name displayName updatedAt user { username } } cursor }
      pageInfo { hasNextPage }
    }
  }
}
"""


@dataclass(frozen=True)
class Project:
    """A project of a user or a team."""

    entity: str
    name: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.name}"


@dataclass(frozen=True)
class View:
    """A saved view or report of a project."""

    id: str
    name: str
    title: str
    user: str | None
    updated_at: str


def parse_project(text: str) -> Project:
    """Read "entity/project", or the address of a project's page.

    Raises:
        ArgumentError: If it is neither.
    """
    entity, slash, name = "/".join(_parts(text)[:2] if _ADDRESS.match(text) else _parts(text)).partition("/")
    if not slash or not _NAME.fullmatch(entity) or not _NAME.fullmatch(name):
        raise ArgumentError(f"expected ENTITY/PROJECT, as in the project's W&B URL, got {quoted(text)}")
    return Project(entity, name)


def _parts(text: str) -> list[str]:
    """Return the parts of a path, or of a URL's path."""
    path = _ADDRESS.sub("", text.partition("?")[0], count=1) if _ADDRESS.match(text) else text
    return [urllib.parse.unquote(part) for part in path.strip("/").split("/")]


def workspaces() -> tuple[ModuleType, ModuleType]:
    """Import the packages for workspaces and reports.

    Raises:
        WandbError: If wandb-workspaces is not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as views
    except ImportError as error:
        raise WandbError(
            f"expected the package wandb-workspaces ({error}); run `pip install 'wandb-workspaces>=0.4.13,<0.5'`"
        ) from None
    return views, reports


def connect() -> Any:
    """W&B's API for whoever is logged in; nobody is asked for a key.

    Raises:
        WandbError: If nobody is logged in, the key is refused, or the server cannot be reached.
    """
    try:
        import wandb
    except ImportError:
        raise WandbError("expected the package wandb; run `pip install wandb`") from None
    mode = os.environ.get("WANDB_MODE", "online")
    if mode not in ("online", "run", "shared", ""):
        raise WandbError(f"WANDB_MODE is {quoted(mode)}, but this command needs the server: unset it")
    os.environ.setdefault("WANDB_SILENT", "true")
    with guarded():
        try:
            known = wandb.login(prompt=False, verify=False)
        except TypeError:  # older ones have no such argument
            known = True
        if not known:
            raise WandbError("not logged in to W&B: run `wandb login`, or set WANDB_API_KEY")
        return wandb.Api(timeout=_TIMEOUT_SECONDS)


def disconnect(seconds: float = _TEARDOWN_SECONDS) -> None:
    """End W&B's service, if this process started one, and go on after a while where it does not end.

    `wandb.teardown` waits for the service without limit, and wandb 0.31's may miss that it shall end (1 of 2,003 times
    on a busy machine). The service that is left ends when this process does.

    Args:
        seconds: How long to wait for it.
    """
    import wandb

    def end() -> None:
        with contextlib.suppress(Exception, SystemExit):
            wandb.teardown()

    thread = threading.Thread(target=end, name="flopwatch-wandb", daemon=True)
    with contextlib.suppress(RuntimeError):  # no more threads
        thread.start()
        thread.join(seconds)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Turn any exception of W&B's packages into a one-line error."""
    try:
        yield
    except WandbError:
        raise
    except Exception as error:
        raise WandbError(_in_words(error)) from error


def _in_words(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "No API key" in text or "api_key not configured" in text:
        return "not logged in to W&B: run `wandb login`, or set WANDB_API_KEY"
    if "error 401" in text or "WANDB_API_KEY invalid" in text:
        return "W&B refused the API key: run `wandb login --relogin`, or check WANDB_API_KEY and WANDB_BASE_URL"
    if "error 403" in text:
        return "W&B denied access with this API key (403): check the entity and its permissions"
    if "did not respond in time" in text or "timed out" in text.lower():
        return "cannot reach the W&B server: check the network and WANDB_BASE_URL"
    if "Could not find" in text:
        return f"W&B has nothing by that name that this API key can see: {in_one_line(text)}"
    return f"W&B answered: {in_one_line(text, 300)}"


def views_of(api: Any, project: Project, kind: str) -> tuple[str | None, list[View]]:
    """Return the user name and all views of a project visible to that user.

    Args:
        api: As `connect` returns it.
        project: The project.
        kind: "project-view" for workspace views, "runs" for reports.

    Raises:
        WandbError: If there is no such project, or the server fails.
    """
    user: str | None = None
    cursor: str | None = None
    views: list[View] = []
    while True:
        variables = {
            "entity": project.entity,
            "project": project.name,
            "viewType": kind,
            "limit": _PAGE,
            "cursor": cursor,
        }
        answer = _ask(api, variables)
        if answer.get("project") is None:
            raise WandbError(
                f"W&B has no project {project} that this API key can see: check the name, or log a run to it first"
            )
        user = (answer.get("viewer") or {}).get("username")
        page = answer["project"].get("allViews") or {}
        edges = page.get("edges") or []
        views += [_view(edge["node"]) for edge in edges if edge.get("node")]
        before, cursor = cursor, edges[-1].get("cursor") if edges else None
        if not (page.get("pageInfo") or {}).get("hasNextPage") or cursor in (None, before):
            return user, views


def _ask(api: Any, variables: dict[str, Any]) -> dict[str, Any]:
    with guarded():
        from wandb_workspaces._graphql import execute_graphql

        answer: dict[str, Any] = execute_graphql(api, _VIEWS, variables)
        return answer


def _view(node: dict[str, Any]) -> View:
    user = (node.get("user") or {}).get("username")
    return View(node["id"], node["name"], node.get("displayName") or "", user, node.get("updatedAt") or "")


@dataclass(frozen=True)
class RunPath:
    """A run of a project, or all ended runs without an ID."""

    project: Project
    id: str | None = None


@dataclass(frozen=True)
class EndedRun:
    """What W&B holds of a run that flopwatch watched: its facts and its summary, names as flopwatch wrote them.

    `rows` are those with FLOPs and loss, with the user's prefix; where there are none, `no_rows` says why.
    `hyperparameters` are those of the whole config.
    """

    id: str
    name: str
    url: str
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...] = ()
    no_rows: str | None = None
    hyperparameters: Mapping[str, Scalar] = field(default_factory=dict)


def parse_run(text: str) -> RunPath:
    """Read "entity/project/run_id", "entity/project", or the address of either's page.

    Raises:
        ArgumentError: If it is none of them.
    """
    parts = _parts(text)
    if _ADDRESS.match(text):
        run = parts[3:4] if parts[2:3] == ["runs"] else []
        parts = [*parts[:2], *run]
    if len(parts) == 3 and _NAME.fullmatch(parts[2]):
        return RunPath(parse_project("/".join(parts[:2])), parts[2])
    try:
        return RunPath(parse_project("/".join(parts)))
    except ArgumentError:
        raise ArgumentError(
            f"expected ENTITY/PROJECT/RUN_ID, or ENTITY/PROJECT for all its runs, got {quoted(text)}"
        ) from None


def ended_runs(api: Any, path: RunPath) -> list[EndedRun]:
    """The runs that a path means and that flopwatch has finished.

    Raises:
        WandbError: If there are none, or the server fails.
    """
    with guarded():
        if path.id is not None:
            found = [api.run(f"{path.project}/{path.id}")]
        else:
            found = list(api.runs(str(path.project), per_page=_PAGE))
        ended = [
            (run, summary) for run in found if "status" in (summary := _own_summary(run)) and run.state != "running"
        ]
        many = len(ended) > _MOST_WITH_ROWS
        made = [_ended_run(run, summary, many=many) for run, summary in ended]
    if not made:
        what = f"run {path.id}" if path.id is not None else "runs"
        raise WandbError(f"expected {what} of {path.project} that ended with flopwatch running, found none")
    return made


def _own_summary(run: Any) -> dict[str, Any]:
    names = [name for name in dict(run.summary) if isinstance(name, str) and name.startswith(f"{SUMMARY}/")]
    return {name.removeprefix(f"{SUMMARY}/"): run.summary[name] for name in names}


def _ended_run(run: Any, summary: Mapping[str, Any], *, many: bool) -> EndedRun:
    config = run.config.get(SUMMARY)
    rows, no_rows = ((), f"rows of more than {_MOST_WITH_ROWS} runs are not read") if many else _loss_rows(run)
    facts = config if isinstance(config, dict) else {}
    hyperparameters = recordable(dict(run.config))
    return EndedRun(run.id, run.name or run.id, run.url, facts, summary, rows, no_rows, hyperparameters)


def _loss_rows(run: Any) -> tuple[tuple[Mapping[str, Any], ...], str | None]:
    """The rows of a run that have both FLOPs and loss, or why there are none."""
    last = dict(run.summary)
    prefix = prefix_of(last)
    keys = [f"{prefix}{key}" for key in _LOSS_KEYS]
    if prefix is None or any(key not in last for key in keys):
        return (), _NO_ROWS
    axis = STEP_AXIS if STEP_AXIS in last else TENSORBOARD_AXIS
    try:
        with guarded():
            rows = tuple(run.scan_history(keys=[axis, "_timestamp", *keys]))
    except WandbError as error:
        return (), str(error)
    return rows, None if rows else _NO_ROWS
