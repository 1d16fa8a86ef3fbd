"""The house keeps its floors: a module imports from lower floors, and each framework has one place."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "flopwatch"
FLOORS = [
    {
        "errors",
        "files",
        "units",
        "reading",
        "batch",
        "components",
        "tree",
        "backward",
        "conventions",
        "chips",
        "catalog",
        "rates",
    },
    {"architectures", "nvml", "amd", "projection", "budget", "records"},
    {
        "meter",
        "metrics",
        "telemetry",
        "sampler",
        "wandb",
        "runfile",
        "report",
        "benchmark",
        "estimate",
        "measure",
        "following",
        "merging",
        "sources",
        "comparison",
        "plan",
        "waterfall",
        "anomalies",
        "findings",
        "published",
    },
    {"render"},
    {"lightning", "cli"},
]
HOMES = {
    "jinja2": {"render"},
    "plotly": {"render"},
    "tabulate": {"render"},
    "msgspec": {"records", "lightning"},
    "pynvml": {"nvml"},
    "amdsmi": {"amd"},
    "torch": {"lightning", "benchmark", "measure"},
    "pytorch_lightning": {"lightning"},
    "lightning": {"lightning"},
    "transformers": set(),
    "wandb": {"wandb"},
    "wandb_workspaces": {"wandb"},
}
# Within a floor these build on each other, in this order.
ORDER = [
    "errors",
    "files",
    "units",
    "reading",
    "rates",
    "batch",
    "components",
    "tree",
    "backward",
    "conventions",
    "chips",
    "catalog",
]
ORDER += [
    "records",
    "projection",
    "budget",
    "nvml",
    "architectures",
    "meter",
    "telemetry",
    "metrics",
    "merging",
    "runfile",
    "sampler",
    "waterfall",
    "anomalies",
    "findings",
    "published",
    "report",
    "wandb",
    "sources",
    "comparison",
    "plan",
    "following",
    "estimate",
    "measure",
]

FILES = sorted(SOURCE.rglob("*.py"))


def unit_of(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            yield node.module
            if node.module in ("flopwatch", "flopwatch.lightning", "flopwatch.render"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor(unit):
    return next(number for number, units in enumerate(FLOORS) if unit in units)


def test_every_module_has_a_floor():
    assert {unit_of(path) for path in FILES} - {"__init__"} == set().union(*FLOORS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_from_below(path):
    unit = unit_of(path)
    if unit == "__init__":
        return
    for name in imports(path):
        if not name.startswith("flopwatch."):
            continue
        other = name.split(".")[1]
        if other == unit:
            continue
        below = floor(other) < floor(unit)
        earlier = other in ORDER and unit in ORDER and ORDER.index(other) < ORDER.index(unit)
        assert below or (floor(other) == floor(unit) and earlier), f"{unit} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_each_framework_is_imported_in_its_home(path):
    for name in imports(path):
        package = name.split(".")[0]
        if package in HOMES:
            assert unit_of(path) in HOMES[package], f"{path} imports {package}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nobody_imports_the_root(path):
    names = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    for node in names:
        if node.module == "flopwatch":
            assert all((SOURCE / f"{alias.name}.py").exists() or (SOURCE / alias.name).is_dir() for alias in node.names)


def test_no_module_is_long():
    assert {path.name: len(path.read_text().splitlines()) for path in FILES if path.read_text().count("\n") > 500} == {}


def loaded_after(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return {"torch", "pytorch_lightning", "lightning", "wandb", "pynvml", "plotly", "jinja2"} & set(modules)


@pytest.mark.parametrize(
    "statement",
    [
        "import flopwatch",
        "import flopwatch.architectures, flopwatch.estimate, flopwatch.cli, flopwatch.report, flopwatch.render.text",
        "import flopwatch.lightning.plugin; assert flopwatch.lightning.plugin.callbacks() == []",
    ],
)
def test_what_needs_no_framework_loads_none(statement):
    assert loaded_after(statement) == set()


def test_flopwatch_is_imported_lazily_from_the_root():
    assert "torch" in loaded_after("from flopwatch import FlopWatch")
    with pytest.raises(ImportError):
        exec("from flopwatch import Flopwatch")
