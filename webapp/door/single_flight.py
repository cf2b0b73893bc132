"""Asks equal questions of the same moment once."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

import structlog

from storage.resilience import budget
from storage.resilience.combiner import Done
from webapp.door.turn_queue import TurnQueue

log = structlog.get_logger(__name__)

Asked = TypeVar("Asked")
Given = TypeVar("Given")


class SingleFlight(Generic[Asked, Given]):
    """Has a question asked in a turn, for all who wait for its answer when that begins. Who comes
    later waits for the next answer: this one may be older than what they have seen already."""

    def __init__(
        self, turns: TurnQueue, ask: Callable[[Asked], tuple[Given, Callable[[], None] | None]]
    ) -> None:
        """`ask` gives the answer, and what is to be done after it, before the next is asked for."""
        self._turns = turns
        self._ask = ask
        self._lock = threading.Lock()
        self._waiting: dict[Asked, list[Done[Given]]] = {}
        """By their questions, each of which is being asked or about to be."""

    def submit(self, asked: Asked, done: Done[Given]) -> None:
        """Has a question answered, and returns at once; `done`, which must not raise, is called in
        another thread."""
        with self._lock:
            waiting = self._waiting.get(asked)
            if waiting is not None:
                waiting.append(done)
                return
            self._waiting[asked] = [done]
        self._turns.run(partial(self._fly, asked))

    def _fly(self, asked: Asked) -> None:
        with self._lock:
            waiting, self._waiting[asked] = self._waiting[asked], []
        answers: Sequence[Given] = ()
        error: Exception | None = None
        after: Callable[[], None] | None = None
        budget.begin()
        try:
            answer, after = self._ask(asked)
            answers = (answer,)
        except Exception as raised:
            error = raised
        for done in waiting:
            done(answers, error)
        try:
            if after is not None:
                after()
        except Exception as failure:
            # Those who came meanwhile wait for their answers, and the thread must survive.
            log.error("unexpected", exc_info=failure)
        budget.end()
        self._go_on(asked)

    def _go_on(self, asked: Asked) -> None:
        with self._lock:
            is_wanted = bool(self._waiting[asked])
            if not is_wanted:
                del self._waiting[asked]
        if is_wanted:
            self._turns.run(partial(self._fly, asked))
