"""Ending training on all ranks at the same step: a proposal, what each says to it, and one decision for all.

The first rank writes a step that is some way ahead. Each rank's side thread reads it and says in its record whether it
came in time; from then on its training does not pass that step without a decision. The decision is one key, and who
writes it first has decided: "stop" by the first rank once all agree, "go on" by it, or by any rank whose training has
waited there as long as it may.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass
from typing import Literal

from flopwatch.lightning.ranks.reading import Reader
from flopwatch.lightning.ranks.store import Store

PATIENCE_SECONDS = 5.0
_MOMENT_SECONDS = 1.0
_FEWEST_STEPS_AHEAD = 2
_NEVER = 2**62
_STOP, _GO_ON = "stop", "go on"
_logger = logging.getLogger("flopwatch")


@dataclass(frozen=True)
class Proposal:
    """A step to stop at; they are numbered from 1."""

    number: int
    step: int


class StopVote:
    """One rank's part in the agreement.

    Args:
        base: What the keys begin with.
        step: The step that training begins with.
    """

    def __init__(self, base: str, step: int = -1) -> None:
        self._proposal_key, self._decision_key = f"{base}/proposal", f"{base}/decision"
        self._moved = threading.Condition()
        self._step = step
        self._heard = Proposal(0, _NEVER)
        self._held_at = self._stop_at = _NEVER
        self._impatient = False
        self.agreed = self.refused = 0

    def note(self, step: int) -> None:
        """Note that training has done a step."""
        with self._moved:
            self._step = step

    def holds(self) -> bool:
        """Return whether training is waiting for a decision."""
        return self._held_at <= self._step

    def must_stop(self, step: int) -> bool:
        """Whether training ends here; waits only at a step that this rank has agreed to wait at, for seconds."""
        if step < self._held_at and step < self._stop_at:
            return False
        with self._moved:
            if not self._moved.wait_for(lambda: self._held_at > step, PATIENCE_SECONDS):
                self._impatient = True
                self._moved.wait_for(lambda: self._held_at > step, _MOMENT_SECONDS)
                self._held_at, self._impatient = _NEVER, False
            return self._stop_at <= step

    def listen(self, store: Store) -> bool:
        """Read what is proposed and decided; tells whether this rank has something new to say. On the side thread."""
        if self._held_at < _NEVER:
            self._read_decision(store)
        if not store.check([self._proposal_key]):
            return False
        proposal = Proposal(**json.loads(store.get(self._proposal_key)))
        return proposal.number > self._heard.number and self._answer(proposal)

    def _answer(self, proposal: Proposal) -> bool:
        with self._moved:
            self._heard, self._held_at = proposal, _NEVER  # what was proposed before is refused, or this were not
            if self._step < proposal.step:
                self._held_at, self.agreed = proposal.step, proposal.number
            else:
                self.refused = proposal.number
            self._moved.notify_all()
        return True

    def _read_decision(self, store: Store) -> None:
        key = f"{self._decision_key}/{self._heard.number}"
        if self._impatient:
            decision = store.compare_set(key, "", _GO_ON)
        elif store.check([key]):
            decision = store.get(key)
        else:
            return
        with self._moved:
            if decision == _STOP.encode():
                self._stop_at = self._heard.step
            self._held_at = _NEVER
            self._moved.notify_all()

    def propose(self, store: Store, proposal: Proposal) -> None:
        """Write a proposal, on the first rank."""
        store.set(self._proposal_key, json.dumps(vars(proposal)))

    def decide(self, store: Store, number: int, *, stop: bool) -> bool:
        """Write the decision, unless there is one; tells whether it is to stop. On the first rank."""
        decision: bytes = store.compare_set(f"{self._decision_key}/{number}", "", _STOP if stop else _GO_ON)
        return decision == _STOP.encode()

    def is_decided(self, number: int) -> bool:
        """Return whether this rank has read the decision on a proposal."""
        return self._heard.number >= number and self._held_at == _NEVER

    def stops(self) -> bool:
        """Return whether the decision was to stop."""
        return self._stop_at < _NEVER


class Chair:
    """The first rank's part: proposes, looks what all say, decides, and where that is no, proposes further ahead.

    Args:
        vote: Its part as one of all.
        reader: Of all ranks' records.
    """

    def __init__(self, vote: StopVote, reader: Reader) -> None:
        self._vote, self._reader = vote, reader
        self._state: Literal["idle", "wanted", "proposed", "refused", "stop"] = "idle"
        self._proposal = Proposal(0, _NEVER)
        self._seconds_ahead = 0.0
        self._told = False

    @property
    def is_set(self) -> bool:
        """Return whether a step to stop at is agreed on or proposed."""
        return self._state != "idle"

    def is_at_work(self) -> bool:
        """Return whether a proposal or a decision is due."""
        return self._state in ("wanted", "proposed")

    def aim(self, step: int, now: int, step_seconds: float, seconds_ahead: float) -> None:
        """Propose to stop at a step, or as soon after it as all ranks can hear of it; on the training thread.

        Args:
            step: The step that reaches the budget.
            now: The step that this rank has done.
            step_seconds: How long one takes.
            seconds_ahead: How long it takes at least until all have heard.
        """
        if self._state not in ("idle", "refused"):
            return
        self._seconds_ahead = max(self._seconds_ahead, seconds_ahead)
        ahead = round(self._seconds_ahead / step_seconds) if step_seconds > 0 else 0
        self._proposal = Proposal(self._proposal.number + 1, max(step, now + max(ahead, _FEWEST_STEPS_AHEAD)))
        self._state = "wanted"

    def aim_again(self, now: int, step_seconds: float) -> None:
        """Propose further ahead what was refused; on the training thread."""
        if self._state == "refused":
            self.aim(now, now, step_seconds, 2 * self._seconds_ahead)

    def look(self, store: Store) -> None:
        """Propose what is wanted, and decide what can be; on the side thread."""
        agreed, refused = self._reader.votes(store, self._proposal.number)
        why_not = self._reader.why_not_all()
        if self._state == "wanted" and why_not is None:
            self._vote.propose(store, self._proposal)
            self._state = "proposed"
        elif self._state == "wanted":
            self._refuse(why_not)
        elif agreed or refused or why_not:
            stops = self._vote.decide(store, self._proposal.number, stop=agreed and not refused)
            self._state = "stop" if stops else "refused"
        elif self._vote.is_decided(self._proposal.number):
            self._state = "stop" if self._vote.stops() else "refused"

    def _refuse(self, why_not: str | None) -> None:
        self._state = "refused"
        if not self._told:
            self._told = True
            _logger.warning("training continues past the budget, since not all ranks can be told to stop: %s", why_not)
