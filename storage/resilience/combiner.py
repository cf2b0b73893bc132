"""Combines what several threads ask for at the same moment into one call below.

A thread carries out what has gathered since its last call. What is large has a lane and a thread of
its own, so that what is small does not wait behind it.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from typing import Generic, TypeVar

import msgspec
import structlog

from storage.errors import TierUnavailable
from storage.resilience import budget

log = structlog.get_logger(__name__)

Asked = TypeVar("Asked")
Given = TypeVar("Given")
Done = Callable[[Sequence[Given], Exception | None], object]
"""Is called once, with one answer for each thing asked, or with what was raised."""

MOST_PER_CALL = 256
"""Bounds, as bytes do, how long one call may keep the server from everyone else."""


IDLE_SECONDS = 1.0
"""A thread that nobody needed for so long ends."""


class _Ticket(msgspec.Struct, Generic[Asked, Given], eq=False):
    """`until` is when its caller's time is over, by the monotonic clock. `context` is the caller's,
    with its trace."""

    asked: Sequence[Asked]
    size: int
    until: float
    done: Done[Given]
    context: Context = msgspec.field(default_factory=Context)


class _Lane(Generic[Asked, Given]):
    """One way, on which one call is under way at a time, in a thread of its own."""

    def __init__(
        self, name: str, carry_out: Callable[[Sequence[Asked]], Sequence[Given]], most_bytes: int
    ) -> None:
        self._name = name
        self._carry_out = carry_out
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._bell = threading.Lock()
        self._bell.acquire()
        self._is_asleep = False
        self._has_thread = False
        self.waiting: list[_Ticket[Asked, Given]] = []

    def put(self, ticket: _Ticket[Asked, Given]) -> None:
        """Has a ticket carried out with the next call."""
        with self._lock:
            self.waiting.append(ticket)
            if self._is_asleep:
                self._is_asleep = False
                self._bell.release()
            elif not self._has_thread:
                self._has_thread = True
                threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def withdraw(self, ticket: _Ticket[Asked, Given]) -> bool:
        """Whether a ticket could be taken back: its call had not begun."""
        with self._lock:
            if ticket not in self.waiting:
                return False
            self.waiting.remove(ticket)
            return True

    def _run(self) -> None:
        while tickets := self._take():
            self._round(tickets)
            # What was answered is not kept while nobody asks.
            del tickets

    def _round(self, tickets: Sequence[_Ticket[Asked, Given]]) -> None:
        budget.begin(max([ticket.until for ticket in tickets]) - time.monotonic())
        answers: Sequence[Given] = ()
        error: Exception | None = None
        try:
            gathered = [asked for ticket in tickets for asked in ticket.asked]
            # What is logged and traced of a call belongs to the first who asked.
            answers = tickets[0].context.run(self._carry_out, gathered)
        except Exception as raised:
            error = raised
        at = 0
        for ticket in tickets:
            through = at + len(ticket.asked)
            try:
                ticket.done(answers[at:through], error)
            except Exception as failure:
                # The others wait for their answers, and the thread must survive.
                log.error("unexpected", exc_info=failure)
            at = through

    def _take(self) -> list[_Ticket[Asked, Given]]:
        """Those whose turn it is, the first whatever its size; waits until there are any. None
        after a while: then the thread is to end."""
        while True:
            with self._lock:
                if self.waiting:
                    taken = self._due()
                    tickets, self.waiting = self.waiting[:taken], self.waiting[taken:]
                    return tickets
                self._is_asleep = True
            if self._bell.acquire(timeout=IDLE_SECONDS):
                continue
            with self._lock:
                if self._is_asleep:
                    self._is_asleep = self._has_thread = False
                    return []
            # Somebody rang in the same moment.
            self._bell.acquire()

    def _due(self) -> int:
        count = size = taken = 0
        for ticket in self.waiting:
            count += len(ticket.asked)
            size += ticket.size
            if taken and (count > MOST_PER_CALL or size > self._most_bytes):
                break
            taken += 1
        return taken


class Combiner(Generic[Asked, Given]):
    """Turns calls of many threads into few. `carry_out` gives one answer for each thing asked."""

    def __init__(
        self, tier: str, carry_out: Callable[[Sequence[Asked]], Sequence[Given]], most_bytes: int
    ) -> None:
        """`most_bytes` are carried out at once, or what one thread asks for."""
        self._tier = tier
        self._small: _Lane[Asked, Given] = _Lane(f"{tier}-small", carry_out, most_bytes)
        self._large: _Lane[Asked, Given] = _Lane(f"{tier}-large", carry_out, most_bytes)

    def submit(self, asked: Sequence[Asked], size: int, done: Done[Given]) -> None:
        """Has so many bytes carried out as one request would, and returns at once; `done` is called
        in another thread."""
        until = time.monotonic() + budget.REQUEST_SECONDS
        self._lane(size).put(_Ticket(asked, size, until, done))

    def ask(self, asked: Sequence[Asked], size: int) -> Sequence[Given]:
        """The answers to what is asked, in order, which are so many bytes.

        Blocks while another call is under way. Raises what `carry_out` raises, for all alike, and
        `TierUnavailable` where its turn does not come in time.
        """
        reply: _Reply[Given] = _Reply()
        seconds, lane = budget.left(), self._lane(size)
        ticket = _Ticket(asked, size, time.monotonic() + seconds, reply, copy_context())
        lane.put(ticket)
        if reply.came(seconds):
            return reply.answers()
        if lane.withdraw(ticket):
            raise TierUnavailable(self._tier, budget.NO_TIME, passing=True, tried=False)
        raise TierUnavailable(self._tier, "it did not answer in time", late=True)

    def _lane(self, size: int) -> _Lane[Asked, Given]:
        return self._large if size > budget.LARGE_BYTES else self._small


class _Reply(Generic[Given]):
    """The answers that a thread waits for."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._turn.acquire()

    def __call__(self, answers: Sequence[Given], error: Exception | None) -> None:
        self._answers, self._error = answers, error
        self._turn.release()

    def came(self, seconds: float) -> bool:
        """Whether they came in time."""
        return self._turn.acquire(timeout=-1 if seconds == math.inf else max(0.0, seconds))

    def answers(self) -> Sequence[Given]:
        """What came. Raises what was raised."""
        if self._error is not None:
            raise self._error
        return self._answers
