"""The same two processes, in the second of which flopwatch fails."""

import os

from flopwatch.lightning.session.session import Session
from tests.lightning.models import TinyGPT
from tests.lightning.scripts.two_ranks import main


def fail(self):
    raise RuntimeError("broken on purpose")


if __name__ == "__main__":
    if os.environ.get("LOCAL_RANK") == "1":
        Session.batch_started = fail
    main(TinyGPT())
