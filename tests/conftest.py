import contextlib
import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests import running

HERE = Path(__file__).parent
# Two test processes share two cores: with one thread each, torch does not wait for the other. Read when torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@contextlib.contextmanager
def locked(name, kind):
    path = Path(tempfile.gettempdir(), f"flopwatch-tests-{os.environ['PYTEST_XDIST_TESTRUNUID']}.{name}")
    with path.open("w") as file:
        fcntl.flock(file, kind)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """Skip the files that cannot be imported with torch 2.4, for which there is no transformers 5."""
    report = yield
    if report.failed and importlib.util.find_spec("transformers") is None:
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, f"Skipped: {str(report.longrepr).splitlines()[-1]}")
    return report


@pytest.fixture(autouse=True)
def in_turn(request):
    """Tests marked `alone` run while no other test does, in whichever process.

    Who waits to be alone keeps the turn, so that those who come later wait behind.
    """
    if "PYTEST_XDIST_TESTRUNUID" not in os.environ:
        yield
        return
    alone = request.node.get_closest_marker("alone") is not None
    with contextlib.ExitStack() as stack:
        with locked("turn", fcntl.LOCK_EX):
            stack.enter_context(locked("running", fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
        yield


@pytest.fixture(autouse=True)
def nothing_compiled():
    """Leave nothing compiled to the next test: before torch 2.10 nothing is watched in a process that compiles."""
    yield
    frames = sys.modules.get("torch._dynamo.eval_frame")
    if getattr(frames, "cached_backends", None):
        sys.modules["torch._dynamo"].reset()


class FakeDriver:
    """A compiled NVML library and the file that its answers come from."""

    def __init__(self, library: Path, folder: Path):
        self._library = library
        self.state = folder / "state"
        self.log = folder / "calls"
        self.set()

    def set(self, **values):
        lines = (f"{key.replace('__', '.')}={value}\n" for key, value in values.items())
        self.state.write_text("".join(lines))

    def environment(self):
        return {
            "LD_LIBRARY_PATH": str(self._library.parent),
            "FAKE_NVML_STATE": str(self.state),
            "FAKE_NVML_LOG": str(self.log),
        }

    def calls(self):
        return [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []


def compile_driver(folder, *options):
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("the fake driver needs a C compiler")
    library = folder / "libnvidia-ml.so.1"
    source = HERE / "fake_driver" / "fake_nvml.c"
    command = [compiler, "-Wall", "-Werror", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run([*command, *options, "-o", str(library), str(source)], check=True)
    return library


@pytest.fixture(scope="session")
def fake_nvml_library(tmp_path_factory):
    return compile_driver(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def fake_driver(fake_nvml_library, tmp_path):
    return FakeDriver(fake_nvml_library, tmp_path)


@pytest.fixture
def old_driver(tmp_path):
    """A driver without event reasons, energy, field values and GPM."""
    (tmp_path / "old").mkdir()
    return FakeDriver(compile_driver(tmp_path / "old", "-DOLD_DRIVER"), tmp_path)


@pytest.fixture
def python(tmp_path):
    """Run a script in a process of its own, in an empty folder; returns the finished process."""

    def run(script, *arguments, environment=None, timeout=180, cwd=None):
        return running.run(script, *arguments, variables=environment, timeout=timeout, cwd=cwd or tmp_path)

    return run
