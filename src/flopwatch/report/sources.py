"""What a RUN on the command line means: flopwatch's run file, a W&B run's folder or file, or a run on a W&B server."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flopwatch.errors import ArgumentError, RunFileError, WandbError
from flopwatch.run.reading_bar import no_bar
from flopwatch.run.records import Status
from flopwatch.run.run_file import Run, Tell, read_run
from flopwatch.units import quoted
from flopwatch.wandb.live import SUMMARY
from flopwatch.wandb.log import LogReader
from flopwatch.wandb.online import RunPath, connect, guarded, parse_run
from flopwatch.wandb.rebuilt import rebuild

_ATTACHED = "run*.jsonl"
_STATES: dict[str, Status] = {"finished": "finished", "failed": "failed", "crashed": "failed", "killed": "interrupted"}


def open_run(text: str, tell: Tell = no_bar) -> Run:
    """Read the run that a path or name refers to.

    A path that exists is a file or folder: of flopwatch's own, else of W&B, whose attached run file is read where it is
    there. Anything else that looks like ENTITY/PROJECT/RUN_ID, or is the address of a run, is asked for at W&B.

    Args:
        text: What stands on the command line.
        tell: Is told how far a file has been read.

    Raises:
        RunFileError: If there is no such file, or it holds nothing readable.
        WandbError: If W&B has no such run, nobody is logged in, or the server cannot be reached.
    """
    path = Path(text)
    if not _exists(path):
        return _from_server(_meant(text))
    if not path.is_dir() and not path.is_file():
        raise RunFileError(f"expected a file or folder, but {text[:200]} is neither")
    if path.is_dir():
        return _from_folder(path, tell)
    return _from_log(path, tell) if path.suffix == ".wandb" else read_run(path, tell)


@dataclass(frozen=True)
class Recordings:
    """How many run files and, of runs that have none, W&B logs are in a folder or below."""

    run_files: int
    wandb_logs: int


def recordings_in(folder: Path) -> Recordings:
    """Count what a folder holds; W&B's copies of run files are none of it.

    Args:
        folder: Where to look.
    """
    files = [each for each in folder.rglob(_ATTACHED) if not {"wandb", "files"} <= set(each.relative_to(folder).parts)]
    logs = [each for each in folder.rglob("*.wandb") if not any(each.parent.glob(f"files/*/{_ATTACHED}"))]
    return Recordings(len(files), len(logs))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _is_below_a_folder(text: str) -> bool:
    """Whether a path that does not exist begins with a folder that does: it is misspelt then, and none of W&B."""
    first = Path(text).parts[:1]
    return bool(first) and "://" not in text and _exists(Path(*first))


def project_of(text: str) -> RunPath | None:
    """The project whose runs are meant by ENTITY/PROJECT, where no file is of that name."""
    if _exists(Path(text)) or _is_below_a_folder(text):
        return None
    try:
        path = parse_run(text)
    except ArgumentError:
        return None
    return path if path.id is None else None


def _meant(text: str) -> RunPath:
    try:
        path = None if _is_below_a_folder(text) else parse_run(text)
    except ArgumentError:
        path = None
    if path is None or path.id is None:
        kinds = "a run file, its folder, or ENTITY/PROJECT/RUN_ID of W&B"
        raise RunFileError(f"expected {kinds}, found nothing at {text[:200]}")
    return path


def _from_folder(folder: Path, tell: Tell) -> Run:
    """Of the newest run in or below a folder; a W&B run's own folder means that run."""
    logs = sorted(each for each in folder.glob("*.wandb") if each.is_file())
    if logs:
        return _from_log(logs[-1], tell)
    try:
        return read_run(folder, tell)
    except RunFileError as none:
        found = (each for each in folder.rglob("*.wandb") if each.is_file())
        below = sorted(found, key=lambda each: each.stat().st_mtime)
        if not below:
            raise RunFileError(f"{none}, and no W&B run") from None
        return _from_log(below[-1], tell)


def _from_log(path: Path, tell: Tell) -> Run:
    attached = sorted(each for each in path.parent.glob(f"files/*/{_ATTACHED}") if each.is_file())
    if attached:
        return read_run(max(attached, key=lambda each: each.stat().st_mtime), tell)
    # What was counted is told after the first rows, and of rows there may be too many to keep.
    facts, reader = LogReader(path), LogReader(path, tell)
    facts.read_config(SUMMARY)
    run = rebuild(
        reader.rows(),
        facts.config,
        path=path,
        name=facts.name,
        run_id=facts.run_id or path.stem,
        status=lambda: _status(reader),
    )
    damaged = f"{reader.damaged} damaged stretch(es) of {path.name} were skipped"
    return Run(run.path, run.segments, (*run.notes, damaged) if reader.damaged else run.notes)


def _status(reader: LogReader) -> Status | None:
    if not reader.ended:
        return None
    return "finished" if reader.exit_code == 0 else "failed"


def _from_server(path: RunPath) -> Run:
    api = connect()
    with guarded():
        found = api.run(f"{path.project}/{path.id}")
        attached = [each for each in found.files() if Path(each.name).match(_ATTACHED)]
    if attached:
        return _downloaded(attached)
    with guarded():
        return rebuild(
            found.scan_history(),
            dict(found.config),
            path=Path(f"{path.project}/{path.id}"),
            name=found.name,
            run_id=found.id,
            status=lambda: _STATES.get(found.state),
        )


def _downloaded(files: list[Any]) -> Run:
    """Read the run files that are attached to a run; they name each other by the folders that they were in."""
    with tempfile.TemporaryDirectory(prefix="flopwatch-") as folder:
        root = Path(folder).resolve()
        for each in files:
            if "\0" in each.name or not (root / each.name).resolve().is_relative_to(root):
                raise WandbError(f"a file on W&B has a name that points outside its folder: {quoted(each.name)}")
            with guarded():
                each.download(root=folder, replace=True).close()
        newest = max(files, key=lambda each: (each.updated_at or "", each.name))
        return read_run(root / newest.name)
