"""Combines what several threads ask for at the same moment into one call below.

The first to come carries out what has gathered, its own included; who comes meanwhile waits for
the next round. Under load one round trip to Redis then serves many requests, and a single
request on its own waits for nobody.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Given = TypeVar("Given")

MOST_PER_CALL = 256
"""Bounds how long one call may keep the server from everyone else."""


class _Ticket(Generic[Asked, Given]):
    __slots__ = ("answers", "asked", "error", "leads", "turn")

    def __init__(self, asked: Sequence[Asked]) -> None:
        self.asked = asked
        self.answers: Sequence[Given] | None = None
        self.error: BaseException | None = None
        self.leads = False
        self.turn = threading.Lock()
        self.turn.acquire()


class Combiner(Generic[Asked, Given]):
    """Turns calls of many threads into few. `carry_out` gives one answer for each thing asked."""

    def __init__(self, carry_out: Callable[[Sequence[Asked]], Sequence[Given]]) -> None:
        self._carry_out = carry_out
        self._lock = threading.Lock()
        self._waiting: list[_Ticket[Asked, Given]] = []
        self._led = False

    def ask(self, asked: Sequence[Asked]) -> Sequence[Given]:
        """The answers to what is asked, in order. Raises what `carry_out` raises, for all alike."""
        ticket: _Ticket[Asked, Given] = _Ticket(asked)
        with self._lock:
            self._waiting.append(ticket)
            leads = not self._led
            self._led = True
        if not leads:
            ticket.turn.acquire()
            leads = ticket.leads
        if leads:
            self._lead()
        if ticket.error is not None:
            raise ticket.error
        if ticket.answers is None:
            raise RuntimeError("a combined call left a caller without an answer")
        return ticket.answers

    def _lead(self) -> None:
        """Carries out what has gathered, then hands the lead to the first who waits."""
        with self._lock:
            batch = self._take()
        try:
            self._serve(batch)
        finally:
            with self._lock:
                if self._waiting:
                    following = self._waiting[0]
                    following.leads = True
                    following.turn.release()
                else:
                    self._led = False

    def _take(self) -> list[_Ticket[Asked, Given]]:
        size = taken = 0
        for ticket in self._waiting:
            size += len(ticket.asked)
            if taken and size > MOST_PER_CALL:
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
