"""Combines what several threads ask for at the same moment into one call below.

The first to come carries out what has gathered, its own included; who comes meanwhile waits for
the next round. Under load one round trip to Redis then serves many requests, and a single
request on its own waits for nobody. What is large goes by a way of its own, one after the other, so
that what is small does not wait behind it.
"""

import math
import threading
from collections.abc import Callable, Sequence
from typing import Generic, NoReturn, TypeVar

from storage.errors import TierUnavailable
from storage.resilience import budget

Asked = TypeVar("Asked")
Given = TypeVar("Given")

MOST_PER_CALL = 256
"""Bounds, as bytes do, how long one call may keep the server from everyone else."""

LEADING_SECONDS = 0.5
"""Whoever has less left does not carry out what others may ask for too: it would be cut off for
all. What is large is carried out with hardly anything else."""


class _Ticket(Generic[Asked, Given]):
    __slots__ = ("answers", "asked", "error", "leads", "size", "turn")

    def __init__(self, asked: Sequence[Asked], size: int) -> None:
        self.asked = asked
        self.size = size
        self.answers: Sequence[Given] | None = None
        self.error: BaseException | None = None
        self.leads = False
        self.turn = threading.Lock()
        self.turn.acquire()


class Combiner(Generic[Asked, Given]):
    """Turns calls of many threads into few. `carry_out` gives one answer for each thing asked."""

    def __init__(
        self, tier: str, carry_out: Callable[[Sequence[Asked]], Sequence[Given]], most_bytes: int
    ) -> None:
        """`most_bytes` are carried out at once, or what one thread asks for."""
        self._small = _Queue(tier, carry_out, most_bytes, LEADING_SECONDS)
        self._large = _Queue(tier, carry_out, most_bytes, budget.LEAST_SECONDS)

    def ask(self, asked: Sequence[Asked], size: int) -> Sequence[Given]:
        """The answers to what is asked, in order, which are so many bytes.

        Raises what `carry_out` raises, for all alike, and `TierUnavailable` where its turn does
        not come in time.
        """
        queue = self._large if size > budget.LARGE_BYTES else self._small
        return queue.ask(asked, size)


class _Queue(Generic[Asked, Given]):
    """One way, on which one call is under way at a time."""

    def __init__(
        self,
        tier: str,
        carry_out: Callable[[Sequence[Asked]], Sequence[Given]],
        most_bytes: int,
        leading_seconds: float,
    ) -> None:
        self._tier = tier
        self._carry_out = carry_out
        self._most_bytes = most_bytes
        self._leading_seconds = leading_seconds
        self._lock = threading.Lock()
        self._waiting: list[_Ticket[Asked, Given]] = []
        self._led = False

    def ask(self, asked: Sequence[Asked], size: int) -> Sequence[Given]:
        ticket: _Ticket[Asked, Given] = _Ticket(asked, size)
        with self._lock:
            self._waiting.append(ticket)
            ticket.leads = not self._led
            self._led = True
        if not ticket.leads:
            self._await_turn(ticket)
        if ticket.leads:
            if budget.left() < self._leading_seconds:
                self._withdraw(ticket)
            self._lead()
        if ticket.error is not None:
            raise ticket.error
        if ticket.answers is None:
            raise RuntimeError("a combined call left a caller without an answer")
        return ticket.answers

    def _await_turn(self, ticket: _Ticket[Asked, Given]) -> None:
        seconds = budget.left()
        if not ticket.turn.acquire(timeout=-1 if seconds == math.inf else max(0.0, seconds)):
            self._withdraw(ticket)

    def _withdraw(self, ticket: _Ticket[Asked, Given]) -> NoReturn:
        """Gives up what is asked; raises `TierUnavailable`, which says whether it was begun."""
        with self._lock:
            if ticket not in self._waiting:
                raise TierUnavailable(self._tier, "it did not answer in time", late=True)
            self._waiting.remove(ticket)
            if ticket.leads:
                self._hand_on()
        raise TierUnavailable(self._tier, budget.NO_TIME, passing=True, tried=False)

    def _lead(self) -> None:
        """Carries out what has gathered, then hands the lead to the first who waits."""
        with self._lock:
            batch = self._take()
        try:
            self._serve(batch)
        finally:
            with self._lock:
                self._hand_on()

    def _hand_on(self) -> None:
        if self._waiting:
            following = self._waiting[0]
            following.leads = True
            following.turn.release()
        else:
            self._led = False

    def _take(self) -> list[_Ticket[Asked, Given]]:
        count = size = taken = 0
        for ticket in self._waiting:
            count += len(ticket.asked)
            size += ticket.size
            if taken and (count > MOST_PER_CALL or size > self._most_bytes):
                break
            taken += 1
        batch, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return batch

    def _serve(self, batch: list[_Ticket[Asked, Given]]) -> None:
        try:
            answers = self._carry_out([asked for ticket in batch for asked in ticket.asked])
        except BaseException as error:
            for ticket in batch:
                ticket.error = error
        else:
            at = 0
            for ticket in batch:
                ticket.answers = answers[at : at + len(ticket.asked)]
                at += len(ticket.asked)
        # The first is the one who carries this out.
        for ticket in batch[1:]:
            ticket.turn.release()
