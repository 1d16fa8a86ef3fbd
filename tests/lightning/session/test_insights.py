"""What is seen inside of steps: one part that fails takes nothing from the others."""

from types import SimpleNamespace

import pytest

from flopwatch.lightning.counting.counter import Cost
from flopwatch.lightning.session.insights import Insights


class Parts:
    """Phases, losses and counting that note what they are told, and fail where they are to."""

    def __init__(self, *broken):
        self.broken, self.told, self.is_sampling, self.profiles = broken, [], True, False

    def _note(self, name, value=None):
        self.told.append(name)
        if name in self.broken:
            raise KeyError(name)
        return value

    def insights(self):
        phases = SimpleNamespace(
            is_sampling=self.is_sampling,
            is_wanted=True,
            batch_ended=lambda **how: self._note(("batch", how["watched"], how["ends_step"], how["cost"]())),
            enter=lambda phase: self._note(f"enter {phase}"),
            leave=lambda: self._note("leave"),
            step_ended=lambda: self._note("next step"),
            give_up=lambda: self._note("give up"),
            take=lambda: self._note("take phases", "sample"),
        )
        losses = SimpleNamespace(
            add=lambda outputs: self._note(f"loss {outputs}"),
            validated=lambda: self._note("validated"),
            take=lambda: self._note("take losses", "losses"),
        )
        counting = SimpleNamespace(
            was_watched=lambda: False,
            cost=lambda batch: Cost(len(batch), None),
            hold=lambda holds: self._note(f"hold {holds}"),
        )
        profiler = SimpleNamespace(
            is_active=self.profiles,
            is_wanted=True,
            step_ended=lambda step: self._note(f"step {step}"),
            ends_window=lambda: True,
            window_closed=lambda: self._note("window"),
            take=lambda: self.profiles,
            give_up=lambda: self._note("give up profile"),
            wait=lambda after_an_error: self._note(f"wait {after_an_error}"),
        )
        return Insights(counting, phases, losses, profiler)


def test_a_batch_of_a_sample_is_told_with_its_cost():
    parts = Parts()
    one = parts.insights()
    one.backward_begins()
    one.backward_ends()
    one.batch_ended("abc", 2.5, ends_step=True)
    one.next_step()
    one.interrupted()
    one.validated()
    assert parts.told[:2] == ["enter backward", "leave"]
    assert parts.told[2:] == ["loss 2.5", ("batch", False, True, Cost(3, None)), "next step", "give up", "validated"]
    assert (one.take().sample, one.take().losses) == ("sample", "losses")


def test_between_samples_a_batch_costs_nothing_but_its_loss():
    parts = Parts()
    parts.is_sampling = False
    one = parts.insights()
    one.backward_begins()
    one.batch_ended("abc", 2.5, ends_step=True)
    one.backward_ends()
    assert parts.told == ["loss 2.5"]


@pytest.mark.parametrize("broken", ["take phases", "take losses"])
def test_a_part_that_fails_is_absent_and_the_other_is_there(broken, caplog):
    found = Parts(broken).insights().take()
    assert (found.sample, found.losses) == ((None, "losses") if broken == "take phases" else ("sample", None))
    assert "failed, everything else continues" in caplog.text


def test_a_loss_that_fails_leaves_the_phases():
    parts = Parts("loss 1")
    parts.insights().batch_ended("abc", 1, ends_step=False)
    assert ("batch", False, False, Cost(3, None)) in parts.told


@pytest.mark.parametrize("profiles", [True, False])
def test_while_steps_are_profiled_none_is_watched_or_sampled(profiles):
    parts = Parts()
    parts.profiles = profiles
    one = parts.insights()
    assert one.step_ended(7)
    one.window_closed()
    one.next_step()
    one.release()
    one.wait(after_an_error=True)
    hold = f"hold {profiles}"
    expected = ["step 7", hold, "window", hold, *([] if profiles else ["next step"])]
    assert parts.told == [*expected, "give up", "give up profile", "wait True"]
    assert one.take().profiled is profiles


def test_a_profiler_that_fails_ends_no_window():
    parts = Parts("step 7")
    one = parts.insights()
    one.profiler.ends_window = lambda: 1 / 0
    assert one.step_ended(7) is False
