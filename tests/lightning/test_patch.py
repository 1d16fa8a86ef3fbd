import pytest

from flopwatch.lightning.output.sinks import ProgressSink
from flopwatch.lightning.patch import Patch


class Bar:
    def get_metrics(self, trainer, module):
        return {"loss": 1.0}


@pytest.mark.parametrize("users_own", [False, True])
def test_what_was_there_comes_back(users_own):
    bar = Bar()
    if users_own:
        bar.get_metrics = lambda trainer, module: {"mine": 2.0}
    before = dict(bar.__dict__)
    sink = ProgressSink(bar)
    sink.show({"mfu": "40%"})
    assert bar.get_metrics(None, None) == {"mfu": "40%", **({"mine": 2.0} if users_own else {"loss": 1.0})}
    sink.remove()
    sink.remove()
    assert bar.__dict__ == before


def test_the_users_word_goes_before_ours():
    bar = Bar()
    bar.get_metrics = lambda trainer, module: {"mfu": 123.0}
    sink = ProgressSink(bar)
    sink.show({"mfu": "40%", "left": "3s"})
    assert bar.get_metrics(None, None) == {"mfu": 123.0, "left": "3s"}


def test_what_somebody_put_there_since_stays():
    bar = Bar()
    patch = Patch(bar, "get_metrics", lambda original: lambda *arguments: original(*arguments))
    bar.get_metrics = later = lambda trainer, module: {}
    patch.remove()
    assert bar.get_metrics is later
