"""A W&B server in small, for the real client: it keeps what runs send, answers reads, and fails as it is told to."""

from __future__ import annotations

import base64
import gzip
import json
import re
import threading
import time
import urllib.parse
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ENTITY = "somebody"
KEY = "0123456789abcdef0123456789abcdef01234567"
MOST_VIEWS = 3
DAY = "2026-01-01T00:00:00"
PROJECT_ID = "UHJvamVjdDox"
STREAMS = {"wandb-history.jsonl": "history", "wandb-events.jsonl": "events", "output.log": "output"}
OPERATION = re.compile(r"^\s*(?:query|mutation)\s+(\w+)", re.M)


@dataclass
class StoredRun:
    """A run as the server has it; lines by their offset in a stream."""

    entity: str
    project: str
    name: str
    config: dict = field(default_factory=dict)
    summary: dict = field(default_factory=dict)
    history: dict = field(default_factory=dict)
    events: dict = field(default_factory=dict)
    output: dict = field(default_factory=dict)
    overwritten: list = field(default_factory=list)
    display_name: str | None = None
    exit_code: int | None = None
    complete: bool = False

    @property
    def id(self):
        return base64.b64encode(f"Run:v1:{self.name}:{self.project}:{self.entity}".encode()).decode()

    @property
    def rows(self):
        """What was logged, in order."""
        return [json.loads(self.history[offset]) for offset in sorted(self.history)]

    @property
    def state(self):
        if not self.complete:
            return "running"
        return "finished" if self.exit_code == 0 else "failed"


class State:
    """What was sent, and how to answer: "ok", an HTTP status, "hang" or "drop"."""

    def __init__(self):
        self.lock = threading.RLock()
        self.mode = "ok"
        self.user = ENTITY
        self.runs: dict[tuple[str, str, str], StoredRun] = {}
        self.views: dict[str, dict] = {}
        self.alerts: list[dict] = []
        self.uploads: dict[str, bytes] = {}
        self.operations: defaultdict[str, int] = defaultdict(int)
        self.unknown: list[str] = []

    def run(self, entity, project, name):
        with self.lock:
            return self.runs.setdefault((entity, project, name), StoredRun(entity, project, name))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Say nothing."""

    @property
    def state(self) -> State:
        return self.server.state

    def do_GET(self):
        if self._fails():
            return
        stored = self.state.uploads.get(self.path)
        self._send(stored if stored is not None else {}, 200 if stored is not None else 404)

    def do_PUT(self):
        body = self._body()
        if not self._fails():
            self.state.uploads[self.path] = body
            self._send(b"")

    def do_POST(self):
        body = self._body()
        if self._fails():
            return
        path = urllib.parse.urlparse(self.path).path
        stream = re.fullmatch(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream", path)
        if path == "/graphql":
            self._send(self._answer(json.loads(body)))
        elif stream:
            self._store(*map(urllib.parse.unquote, stream.groups()), json.loads(body))
            self._send({"limits": {}})
        else:
            self._send({}, 404)

    def _body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            body = b"".join(parts)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _send(self, answer, status=200):
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _fails(self):
        mode = self.state.mode
        if mode == "ok":
            return False
        if mode.isdigit():
            self._send({"error": "injected"}, int(mode))
            return True
        while mode == "hang" and self.state.mode == "hang":
            time.sleep(0.05)
        self.close_connection = True
        self.connection.close()
        return True

    def _answer(self, request):
        query, variables = request["query"], request.get("variables") or {}
        found = OPERATION.search(query)
        name = found[1] if found else query.strip()[:40]
        operation = getattr(self, f"_on_{name}", None)
        with self.state.lock:
            self.state.operations[name] += 1
            if operation is None:
                self.state.unknown.append(name)
                return {"data": None, "errors": [{"message": f"unknown operation {name}"}]}
            return {"data": operation(variables, query)}

    def _store(self, entity, project, name, sent):
        with self.state.lock:
            run = self.state.run(entity, project, name)
            for file, part in (sent.get("files") or {}).items():
                if file == "wandb-summary.json":
                    run.summary = json.loads(part["content"][-1])
                    continue
                lines = getattr(run, STREAMS[file]) if file in STREAMS else {}
                for offset, line in enumerate(part["content"], part["offset"]):
                    # wandb writes a line of the console anew while it still changes; a row it may not.
                    if file != "output.log" and lines.get(offset, line) != line:
                        run.overwritten.append((file, offset))
                    lines[offset] = line
            if sent.get("complete"):
                run.complete, run.exit_code = True, sent.get("exitcode")

    # What views need.

    def _on_UpsertView2(self, variables, query):
        earlier = self.state.views.get(variables.get("id") or "")
        id_ = earlier["id"] if earlier else base64.b64encode(b"View:%d" % (1000 + len(self.state.views))).decode()
        view = {**(earlier or {"user": {"username": self.state.user}, "createdAt": DAY}), "id": id_}
        view |= {key: value for key, value in variables.items() if value is not None and key != "id"}
        view |= {"updatedAt": f"{DAY}.{self.state.operations['UpsertView2']:06d}"}
        view["project"] = {"id": PROJECT_ID, "name": view["projectName"], "entityName": view["entityName"]}
        self.state.views[id_] = view
        return {"upsertView": {"inserted": earlier is None, "view": view}}

    _on_upsertView = _on_UpsertView2

    def _on_FlopwatchViews(self, variables, query):
        project = self._project(variables["entity"], variables["project"])
        if project is None:
            return {"viewer": {"username": self.state.user}, "project": None}
        views = [each for each in self.state.views.values() if each["type"] == variables["viewType"]]
        views = [each for each in views if each["projectName"] == variables["project"]]
        start = int(variables["cursor"] or 0)
        page = views[start : start + min(variables["limit"], MOST_VIEWS)]
        edges = [{"node": each, "cursor": str(start + place)} for place, each in enumerate(page, 1)]
        more = {"hasNextPage": start + len(page) < len(views)}
        return {
            "viewer": {"username": self.state.user},
            "project": {"allViews": {"edges": edges, "pageInfo": more}},
        }

    def _on_ProjectInternalId(self, variables, query):
        known = self._project(variables["entityName"], variables["projectName"])
        return {"project": known and {"id": PROJECT_ID, "internalId": "UHJvamVjdEludGVybmFsSWQ6MQ=="}}

    def _on_GetProjects(self, variables, query):
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        nodes = [
            {
                **{"__typename": "Project", "id": PROJECT_ID, "name": project, "entityName": entity},
                **{"createdAt": DAY, "isBenchmark": False, "user": None},
            }
            for entity, project in {key[:2] for key in self.state.runs}
        ]
        return {"models": {"pageInfo": page, "edges": [{"node": node} for node in nodes]}}

    def _project(self, entity, name):
        return next((True for key in self.state.runs if key[:2] == (entity, name)), None)

    # What reading runs needs.

    def _on_Run(self, variables, query):
        run = self.state.runs.get((variables["entity"], variables["project"], variables["name"]))
        return {"project": {"run": None if run is None else self._public(run)}}

    def _on_Runs(self, variables, query):
        found = [
            run
            for run in self.state.runs.values()
            if (run.entity, run.project) == (variables["entity"], variables["project"])
        ]
        start = int(variables.get("cursor") or 0)
        page = found[start : start + min(variables.get("perPage") or MOST_VIEWS, MOST_VIEWS)]
        edges = [{"node": self._public(run), "cursor": str(start + place)} for place, run in enumerate(page, 1)]
        more = {"hasNextPage": start + len(page) < len(found), "endCursor": str(start + len(page))}
        known = {"internalId": "1", "runCount": len(found), "readOnly": False}
        return {"project": {**known, "runs": {"edges": edges, "pageInfo": more}} if found else None}

    def _stored(self, variables):
        name = variables.get("name") or variables.get("run") or variables.get("runName")
        return self.state.runs[variables["entity"], variables["project"], name]

    def _on_RunFiles(self, variables, query):
        run = self._stored(variables)
        start, base = f"/upload/{run.name}/", f"http://{self.headers['Host']}"
        found = sorted(path for path in self.state.uploads if path.startswith(start))
        edges = [
            {
                "node": {
                    **{"id": path, "name": urllib.parse.unquote(path.removeprefix(start)), "md5": ""},
                    **{"sizeBytes": len(self.state.uploads[path]), "mimetype": "", "updatedAt": DAY},
                    **{"url": base + path, "directUrl": base + path},
                },
                "cursor": path,
            }
            for path in found
        ]
        files = {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}
        return {"project": {"internalId": "1", "run": {"fileCount": len(edges), "files": files}}}

    def _on_RunHistoryKeys(self, variables, query):
        keys = self._public(self._stored(variables))["historyKeys"]
        return {"project": {"run": {"historyKeys": keys}}}

    def _on_RunParquetHistory(self, variables, query):
        rows = self._stored(variables).rows
        return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": rows}}}}

    def _on_HistoryPage(self, variables, query):
        run = self._stored(variables)
        within = range(variables["minStep"], variables["maxStep"])
        rows = [run.history[offset] for offset in sorted(run.history)]
        rows = [row for row in rows if json.loads(row)["_step"] in within][: variables["pageSize"]]
        return {"project": {"run": {"history": rows}}}

    def _on_SampledHistoryPage(self, variables, query):
        """Rows that have all keys, which the real one thins out where they are more than the samples asked for."""
        spec = json.loads(variables["spec"])
        within = range(spec["minStep"], spec["maxStep"] + 1)
        rows = [row for row in self._stored(variables).rows if row["_step"] in within and set(spec["keys"]) <= set(row)]
        return {"project": {"run": {"sampledHistory": [[{key: row[key] for key in spec["keys"]} for row in rows]]}}}

    def _public(self, run):
        keys = {key for row in run.rows for key in row}
        counts = {key: {"typeCounts": [{"type": "number", "count": len(run.history)}]} for key in keys}
        return {
            **{"id": run.id, "name": run.name, "displayName": run.display_name or run.name, "state": run.state},
            **{"config": json.dumps(run.config), "summaryMetrics": json.dumps(run.summary), "systemMetrics": "{}"},
            **{"projectId": "1", "tags": [], "sweepName": None, "group": None, "jobType": None, "commit": None},
            **{"readOnly": False, "createdAt": DAY, "heartbeatAt": DAY, "description": "", "notes": ""},
            **{"historyLineCount": len(run.history), "user": {"name": run.entity, "username": run.entity}},
            "historyKeys": {"lastStep": len(run.history) - 1, "sets": [], "keys": counts},
        }

    # What a run needs.

    def _on_Viewer(self, variables, query):
        team = {"id": "RW50aXR5OjE=", "name": ENTITY}
        return {
            "viewer": {
                **{"id": "VXNlcjox", "name": ENTITY, "username": ENTITY, "email": "a@b.c", "admin": False},
                **{"deletedAt": None, "entity": ENTITY, "flags": "{}", "teams": {"edges": [{"node": team}]}},
                "apiKeys": {"edges": []},
            }
        }

    def _on_GetDefaultEntity(self, variables, query):
        return {"viewer": {"id": "VXNlcjox", "entity": ENTITY}}

    def _on_ServerInfo(self, variables, query):
        versions = {"max_cli_version": "99.0.0", "min_cli_version": "0.10.0"}
        local = {
            "outOfDate": False,
            "latestVersionString": "0.80.0",
            "versionOnThisInstanceString": "0.80.0",
        }
        return {"serverInfo": {"cliVersionInfo": versions, "latestLocalVersionInfo": local, "features": []}}

    def _on_ServerFeaturesQuery(self, variables, query):
        return {"serverInfo": {"features": []}}

    _on_ServerFeatures = _on_ServerFeaturesQuery

    def _on_RunResumeStatus(self, variables, query):
        entity, project, name = variables.get("entity") or ENTITY, variables.get("project"), variables["name"]
        run = self.state.runs.get((entity, project, name))
        return {
            "model": {
                "id": PROJECT_ID,
                "name": project,
                "entity": {"id": "RW50aXR5OjE=", "name": entity},
                "bucket": None if run is None else resume_status(run),
            }
        }

    def _on_UpsertBucket(self, variables, query):
        entity, project = variables.get("entity") or ENTITY, variables.get("project") or "uncategorized"
        inserted = (entity, project, variables.get("name")) not in self.state.runs
        run = self.state.run(entity, project, variables.get("name"))
        if variables.get("config"):
            run.config = json.loads(variables["config"])
        if variables.get("summaryMetrics"):
            run.summary.update(json.loads(variables["summaryMetrics"]))
        run.display_name = variables.get("displayName") or run.display_name
        bucket = {
            **{"id": run.id, "name": run.name, "displayName": run.display_name, "description": "", "sweepName": None},
            **{"config": json.dumps(run.config), "historyLineCount": len(run.history)},
            "project": {"id": PROJECT_ID, "name": project, "entity": {"id": "RW50aXR5OjE=", "name": entity}},
        }
        return {"upsertBucket": {"inserted": inserted, "bucket": bucket}}

    def _on_CreateRunFiles(self, variables, query):
        base = f"http://{self.headers['Host']}/upload/{variables['run']}/"
        files = [{"name": name, "uploadUrl": base + urllib.parse.quote(name)} for name in variables["files"]]
        return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}

    def _on_RunStoppedStatus(self, variables, query):
        return {"project": {"run": {"stopped": False}}}

    def _on_NotifyScriptableRunAlert(self, variables, query):
        self.state.alerts.append(variables)
        return {"notifyScriptableRunAlert": {"success": True}}


def resume_status(run):
    def tail(lines):
        return json.dumps([lines[offset] for offset in sorted(lines)][-1:])

    return {
        **{"id": run.id, "name": run.name, "displayName": run.display_name, "tags": [], "notes": ""},
        **{"summaryMetrics": json.dumps(run.summary), "config": json.dumps(run.config)},
        **{"logLineCount": len(run.output), "historyLineCount": len(run.history)},
        **{"eventsLineCount": len(run.events), "historyTail": tail(run.history), "eventsTail": tail(run.events)},
        "wandbConfig": json.dumps({"t": 1}),
    }


class WandbServer:
    """The server on a port of its own, as a context.

    `environment` is what a process needs to talk to it.
    """

    def __init__(self):
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.state = self._http.state = State()
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self.environment = {
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": KEY,
            "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1",
            "WANDB_X_FILE_STREAM_RETRY_WAIT_MIN_SECONDS": "1",
            "WANDB_X_FILE_STREAM_RETRY_WAIT_MAX_SECONDS": "1",
            "WANDB_SILENT": "true",
        }

    def __enter__(self):
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.state.mode = "ok"
        self._http.shutdown()
        self._http.server_close()

    def fail(self, mode):
        """From now on answer with an HTTP status like "500", "hang", "drop"; "ok" to be well again."""
        self.state.mode = mode

    @property
    def run(self):
        """The only run."""
        (run,) = self.state.runs.values()
        return run
