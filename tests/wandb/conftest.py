import os
import subprocess

import pytest

from flopwatch.wandb.online import disconnect
from tests.wandb.server import ENTITY, WandbServer


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server with a project `p`, and this process as a user of it; wandb forgets it afterwards."""
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.chdir(tmp_path)
    with WandbServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        server.state.run(ENTITY, "p", "r0")
        yield server
        disconnect()
        subprocess.run(["pkill", "-P", str(os.getpid()), "wandb-core"])  # one that has missed its end
