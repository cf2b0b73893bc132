"""Asks equal questions of the same moment once."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

import structlog

from storage.messages.combiner import Done
from storage.resilience import budget
from webapp.door.turn_queue import TurnQueue

log = structlog.get_logger(__name__)

Asked = TypeVar("Asked")
Given = TypeVar("Given")


class SingleFlight(Generic[Asked, Given]):
    """Has a question asked in a turn, for all who wait for its answer when that begins. Who comes
    later waits for the next answer: this one may be older than what they have seen already."""

    def __init__(self, turns: TurnQueue, ask: Callable[[Asked], Given]) -> None:
        self._turns = turns
        self._ask = ask
        self._lock = threading.Lock()
        self._waiting: dict[Asked, list[Done[Given]]] = {}
        """By their questions, each of which is being asked or about to be."""

    def submit(self, asked: Asked, done: Done[Given]) -> None:
        """Has a question answered, and returns at once; `done` is called in another thread."""
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
        budget.begin()
        try:
            answers = (self._ask(asked),)
        except Exception as raised:
            error = raised
        budget.end()
        self._go_on(asked)
        for done in waiting:
            try:
                done(answers, error)
            except Exception as failure:
                # The others wait for their answers, and the thread must survive.
                log.error("unexpected", exc_info=failure)

    def _go_on(self, asked: Asked) -> None:
        with self._lock:
            is_wanted = bool(self._waiting[asked])
            if not is_wanted:
                del self._waiting[asked]
        if is_wanted:
            self._turns.run(partial(self._fly, asked))
