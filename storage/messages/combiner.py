"""Combines what several threads ask for at the same moment into one call below.

The first to come carries out what has gathered; the others wait for the next round. What is large
has a lane of its own, so that what is small does not wait behind it.
"""

import math
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
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
        self.answers: Sequence[Given] = ()
        self.error: BaseException | None = None
        self.leads = False
        self.turn = threading.Lock()
        self.turn.acquire()


class _Lane(Generic[Asked, Given]):
    """One way, on which one call is under way at a time."""

    def __init__(self, leading_seconds: float) -> None:
        self.leading_seconds = leading_seconds
        self.lock = threading.Lock()
        self.waiting: list[_Ticket[Asked, Given]] = []
        self.is_led = False

    def hand_on(self) -> None:
        """Gives the lead to the first who waits; the caller holds the lock."""
        if self.waiting:
            following = self.waiting[0]
            following.leads = True
            following.turn.release()
        else:
            self.is_led = False

    def take(self, most_bytes: int) -> list[_Ticket[Asked, Given]]:
        """Those whose turn it is, the first whatever its size."""
        with self.lock:
            count = size = taken = 0
            for ticket in self.waiting:
                count += len(ticket.asked)
                size += ticket.size
                if taken and (count > MOST_PER_CALL or size > most_bytes):
                    break
                taken += 1
            batch, self.waiting = self.waiting[:taken], self.waiting[taken:]
            return batch


class _Round(Generic[Asked, Given]):
    """One call for what has gathered on a lane. The block sets `answers`, or raises what is raised
    for each of those who asked; then the lead goes to the first who waits."""

    def __init__(self, lane: _Lane[Asked, Given], most_bytes: int) -> None:
        self._lane = lane
        self._tickets = lane.take(most_bytes)
        self.asked = [asked for ticket in self._tickets for asked in ticket.asked]
        self.answers: Sequence[Given] = ()

    def __enter__(self) -> "_Round[Asked, Given]":
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> bool:
        at = 0
        for ticket in self._tickets:
            ticket.error = error
            ticket.answers = self.answers[at : at + len(ticket.asked)]
            at += len(ticket.asked)
        # The first is the one who carries this out.
        for ticket in self._tickets[1:]:
            ticket.turn.release()
        with self._lane.lock:
            self._lane.hand_on()
        return True


class Combiner(Generic[Asked, Given]):
    """Turns calls of many threads into few. `carry_out` gives one answer for each thing asked."""

    def __init__(
        self, tier: str, carry_out: Callable[[Sequence[Asked]], Sequence[Given]], most_bytes: int
    ) -> None:
        """`most_bytes` are carried out at once, or what one thread asks for."""
        self._tier = tier
        self._carry_out = carry_out
        self._most_bytes = most_bytes
        self._small: _Lane[Asked, Given] = _Lane(LEADING_SECONDS)
        self._large: _Lane[Asked, Given] = _Lane(budget.LEAST_SECONDS)

    def ask(self, asked: Sequence[Asked], size: int) -> Sequence[Given]:
        """The answers to what is asked, in order, which are so many bytes.

        Blocks while another call is under way. Raises what `carry_out` raises, for all alike, and
        `TierUnavailable` where its turn does not come in time.
        """
        lane = self._large if size > budget.LARGE_BYTES else self._small
        ticket: _Ticket[Asked, Given] = _Ticket(asked, size)
        with lane.lock:
            lane.waiting.append(ticket)
            ticket.leads = not lane.is_led
            lane.is_led = True
        if not ticket.leads:
            self._await_turn(lane, ticket)
        if ticket.leads:
            if budget.left() < lane.leading_seconds:
                self._withdraw(lane, ticket)
            with _Round(lane, self._most_bytes) as gathered:
                gathered.answers = self._carry_out(gathered.asked)
        if ticket.error is not None:
            raise ticket.error
        return ticket.answers

    def _await_turn(self, lane: _Lane[Asked, Given], ticket: _Ticket[Asked, Given]) -> None:
        seconds = budget.left()
        if not ticket.turn.acquire(timeout=-1 if seconds == math.inf else max(0.0, seconds)):
            self._withdraw(lane, ticket)

    def _withdraw(self, lane: _Lane[Asked, Given], ticket: _Ticket[Asked, Given]) -> NoReturn:
        """Gives up what is asked; raises `TierUnavailable`, which says whether it was begun."""
        with lane.lock:
            if ticket not in lane.waiting:
                raise TierUnavailable(self._tier, "it did not answer in time", late=True)
            lane.waiting.remove(ticket)
            if ticket.leads:
                lane.hand_on()
        raise TierUnavailable(self._tier, budget.NO_TIME, passing=True, tried=False)
