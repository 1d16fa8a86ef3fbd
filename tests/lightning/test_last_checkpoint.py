from pathlib import Path
from types import SimpleNamespace

import pytest

from flopwatch.lightning.last_checkpoint import save_at_the_end


def trainer(keeper):
    saved = []
    return SimpleNamespace(
        checkpoint_callback=keeper,
        global_step=12,
        default_root_dir="/root",
        save_checkpoint=lambda path, weights_only: saved.append((path, weights_only)),
        saved=saved,
    )


@pytest.mark.parametrize(
    ("keeper", "path", "weights_only"),
    [
        ({"dirpath": "/kept", "save_weights_only": True}, "/kept/budget-step=12.ckpt", True),
        ({"dirpath": None}, "/root/budget-step=12.ckpt", False),
        ({"_last_global_step_saved": 11}, "/root/budget-step=12.ckpt", False),
    ],
)
def test_a_checkpoint_is_saved_where_the_others_are_with_the_step_in_its_name(keeper, path, weights_only):
    one = trainer(SimpleNamespace(**keeper))
    assert save_at_the_end(one) == Path(path)
    assert one.saved == [(Path(path), weights_only)]


@pytest.mark.parametrize("keeper", [None, SimpleNamespace(_last_global_step_saved=12)])
def test_where_none_is_kept_or_one_was_just_saved_there_is_nothing_to_do(keeper):
    one = trainer(keeper)
    assert save_at_the_end(one) is None
    assert one.saved == []
