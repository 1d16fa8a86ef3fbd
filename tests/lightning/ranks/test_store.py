"""Reading from the job's store, with one that counts how it is asked."""

import pytest
import torch.distributed as dist

from flopwatch.lightning.ranks import store
from flopwatch.lightning.ranks.store import jobs_store, present, read


class Counting:
    """A store of which a call's keys are noted."""

    def __init__(self, **values):
        self.values, self.calls = values, []

    def multi_get(self, keys):
        self.calls.append(len(keys))
        return [self.values[key] for key in keys]

    def check(self, keys):
        self.calls.append(len(keys))
        return all(key in self.values for key in keys)


def test_values_come_in_the_order_of_their_keys_a_few_at_once():
    keys = [f"k{place}" for place in range(600)]
    one = Counting(**{key: key.encode() for key in keys})
    assert read(one, keys) == [key.encode() for key in keys]
    assert one.calls == [256, 256, 88]
    assert read(one, []) == []


def test_keys_are_asked_for_together_and_one_by_one_only_where_some_are_lacking():
    keys = [f"k{place}" for place in range(300)]
    one = Counting(**{key: b"" for key in keys if key != "k299"})
    assert present(one, keys) == [True] * 299 + [False]
    # 256 at once, then 44 at once and each of them.
    assert one.calls == [256, 44, *[1] * 44]


def test_a_real_store_says_the_same():
    real = dist.HashStore()
    real.set("a", b"1")
    real.set("b", b"2")
    assert read(real, ["b", "a"]) == [b"2", b"1"]
    assert present(real, ["a", "c"]) == [True, False]


def test_without_a_process_group_there_is_no_store():
    assert jobs_store() is None


@pytest.mark.parametrize("error", [RuntimeError, AttributeError, ValueError])
def test_a_torch_that_does_not_tell_its_store_has_none(monkeypatch, error):
    def asked():
        raise error

    monkeypatch.setattr(store.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(store.distributed_c10d, "_get_default_store", asked)
    assert jobs_store() is None
