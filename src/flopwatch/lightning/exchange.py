"""The thread that sums over all ranks while training goes on: the first rank asks, everybody answers, up a tree."""

from __future__ import annotations

import atexit
import logging
import queue
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

_logger = logging.getLogger("flopwatch")
_HEARTBEAT_SECONDS = 20.0
_EXIT_SECONDS = 10.0
_DIGIT_BITS = 30
_DIGITS = 4
_LARGEST = 2 ** (_DIGIT_BITS * _DIGITS)


class Op(IntEnum):
    """What the first rank wants of all."""

    NOTHING = 0
    SUM = 1  # of the work up to a step
    WINDOW = 2  # the same, and what the GPUs did since the last time
    PROPOSE_STOP = 3  # hold training at a step, if it has not come there yet
    STOP = 4  # end training at that step
    GO_ON = 5  # do not
    END = 6  # nothing will be asked any more


@dataclass
class Share:
    """One rank's answer, or many ranks' together.

    Attributes:
        sums: Whole numbers below 2**120 in size that add up.
        unknown: For each of them, how many ranks do not know it.
        lowest: Whole numbers of which the lowest counts.
        highest: A whole number and the rank that it belongs to; the highest counts.
        failed: How many ranks do not count any more.
    """

    sums: list[int] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    lowest: list[int] = field(default_factory=list)
    highest: tuple[int, int] = (0, 0)
    failed: int = 0


def combined(left: Share, right: Share) -> Share:
    """Two answers in one; the order does not matter."""
    return Share(
        [one + other for one, other in zip(left.sums, right.sums, strict=True)],
        [one + other for one, other in zip(left.unknown, right.unknown, strict=True)],
        [min(pair) for pair in zip(left.lowest, right.lowest, strict=True)],
        max(left.highest, right.highest, key=lambda each: (each[0], -each[1])),
        left.failed + right.failed,
    )


def to_numbers(share: Share) -> list[int]:
    """A share as 64-bit numbers, the same count of them for every share of the same shape."""
    digits = [digit for amount in share.sums for digit in _digits(amount)]
    return [*digits, *share.unknown, *share.lowest, *share.highest, share.failed]


def from_numbers(numbers: list[int], like: Share) -> Share:
    """The share behind `to_numbers`, of the same shape as another one."""
    sums, lowest = len(like.sums), len(like.lowest)
    digits, rest = numbers[: sums * _DIGITS], numbers[sums * _DIGITS :]
    return Share(
        [_number(digits[place : place + _DIGITS]) for place in range(0, len(digits), _DIGITS)],
        rest[:sums],
        rest[sums : sums + lowest],
        (rest[-3], rest[-2]),
        rest[-1],
    )


def _digits(amount: int) -> list[int]:
    sign = -1 if amount < 0 else 1
    if abs(amount) >= _LARGEST:
        raise OverflowError(f"{amount:.3g} is too large to be summed over the ranks")
    return [sign * (abs(amount) >> (_DIGIT_BITS * place) & (2**_DIGIT_BITS - 1)) for place in range(_DIGITS)]


def _number(digits: list[int]) -> int:
    return sum(digit << (_DIGIT_BITS * place) for place, digit in enumerate(digits))


class Links(Protocol):
    """How a rank speaks with its parent and its children in the tree."""

    def hear_parent(self) -> tuple[int, int]:
        """Wait for what the first rank wants."""

    def tell_children(self, op: int, argument: int) -> None:
        """Pass on what it wants."""

    def hear_children(self, own: Share) -> Share:
        """Wait for the children's answers and add them to this rank's own."""

    def tell_parent(self, share: Share) -> None:
        """Answer."""


@dataclass
class Request:
    """Something that the first rank asked; `share` is everybody's answer, `failed` says that there will be none."""

    op: Op
    argument: int
    share: Share | None = None
    failed: bool = False
    done: threading.Event = field(default_factory=threading.Event)

    def fail(self) -> None:
        """There will be no answer."""
        self.failed = True
        self.done.set()


def _let_end(thread: weakref.ref[threading.Thread]) -> None:
    """Before the interpreter ends, let a thread come back from gloo: one that comes back later aborts the process."""
    waited_for = thread()
    if waited_for is not None:
        waited_for.join(_EXIT_SECONDS)


class Exchange:
    """Asks and answers on a thread of its own, so that no rank's training ever waits for another's answer.

    The first rank needs nobody's consent on when to sum: it asks for the work up to a step of its choice, and every
    rank looks that up in what it has noted at each of its steps.

    Args:
        links: To the ranks above and below in the tree.
        answer: Gives this rank's share; may wait until training has come to the step.
        is_first: Whether this is the rank that asks.
    """

    def __init__(self, links: Links, answer: Callable[[Op, int], Share], is_first: bool) -> None:
        self._links = links
        self._answer = answer
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self.error: str | None = None
        self._thread = threading.Thread(
            target=self._ask_all if is_first else self._answer_all, name="flopwatch-ranks", daemon=True
        )
        self._thread.start()
        atexit.register(_let_end, weakref.ref(self._thread))

    def ask(self, op: Op, argument: int) -> Request:
        """Ask all ranks; the answer is filled in later."""
        request = Request(op, argument)
        if self.error is not None:
            request.fail()
        else:
            self._requests.put(request)
            if self.error is not None:
                self._fail_rest()
        return request

    def join(self, seconds: float) -> bool:
        """Wait for the end of the exchange; tells whether it came."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _ask_all(self) -> None:
        request = Request(Op.NOTHING, 0)
        try:
            while request.op is not Op.END:
                request = self._next()
                self._links.tell_children(request.op, request.argument)
                if request.op in (Op.NOTHING, Op.END):
                    request.done.set()
                    continue
                request.share = self._links.hear_children(self._answer(request.op, request.argument))
                request.done.set()
            self.error = "it has ended"
        except Exception as error:
            self.error = f"{type(error).__name__}: {str(error)[:200]}"
            request.fail()
        self._fail_rest()

    def _next(self) -> Request:
        """The next request; a heartbeat where there is none, so that nobody thinks that this rank is gone."""
        try:
            return self._requests.get(timeout=_HEARTBEAT_SECONDS)
        except queue.Empty:
            return Request(Op.NOTHING, 0)

    def _fail_rest(self) -> None:
        while not self._requests.empty():
            self._requests.get().fail()

    def _answer_all(self) -> None:
        try:
            op = Op.NOTHING
            while op is not Op.END:
                number, argument = self._links.hear_parent()
                op = Op(number)
                self._links.tell_children(op, argument)
                if op not in (Op.NOTHING, Op.END):
                    self._links.tell_parent(self._links.hear_children(self._answer(op, argument)))
        except Exception as error:
            self.error = f"{type(error).__name__}: {str(error)[:200]}"
            _logger.debug("this rank answers no more: %s", self.error)
