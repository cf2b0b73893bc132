"""The read lane: usual reads that Redis answers alone, without the framework, and no thread waits.

What is unusual in a request, or in what Redis has, the application answers in full.
"""

import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import structlog
from flask import Flask

from models import ids
from models.message import InvalidMessage, check_thread_id
from storage.messages.hot_reads import LARGEST_PAGE
from storage.resilience.combiner import Done
from storage.threads.page import ThreadList, ThreadQuery
from storage.threads.thread_cache_manager import TURN_SECONDS
from webapp.api.messages import hot_message_answer, page_answer
from webapp.api.threads import list_answer
from webapp.door.bridge import CLOSE, DoorRequest
from webapp.door.lane import HEADERS, Fallback, Headers, Lane, Usual
from webapp.door.single_flight import SingleFlight
from webapp.door.turn_queue import TurnQueue
from webapp.http.context import of
from webapp.http.requests import DEFAULT_PAGE, Asked
from webapp.http.scopes import READ, READ_THREADS
from webapp.identity.caller import InvalidToken
from webapp.limits.limits import TAKEN

log = structlog.get_logger(__name__)

LIST_ROUTE = "/api/threads"
PAGE_ROUTE = "/api/threads/<thread_id>/messages"
MESSAGE_ROUTE = "/api/messages/<message_id>"

_PAGE_PATH = re.compile(r"/api/threads/([^/]+)/messages")
_MESSAGE_PATH = re.compile(r"/api/messages/([0-9a-f-]{36})")
_QUERY = re.compile(r"(?:limit=(1000|[1-9][0-9]{0,2}))?")
"""The usual queries: the first page, of some size or the default one."""

Found = TypeVar("Found")
Write = Callable[[Found, float], tuple[dict[str, str], bytes]]
"""The headers and the body of an answer, given the milliseconds that it took."""


class ReadLane(Lane):
    """Answers reads of a message, of a thread's newest messages, and of the list of threads."""

    def __init__(self, app: Flask, fallback: Fallback, turns: TurnQueue) -> None:
        """`fallback` has the application answer a request in another thread. Lists are read in
        `turns`."""
        super().__init__(app, fallback, of(app).limits.read)
        services = self.web.services
        self._hot = services.hot_reads
        page = services.thread_cache_manager.unstored_page
        self._lists = SingleFlight[tuple[str, ThreadQuery], ThreadList](
            turns, lambda asked: page(*asked), TURN_SECONDS
        )

    def take(self, request: DoorRequest) -> bool:
        """Whether this is a usual read, which another thread answers then."""
        started = time.perf_counter()
        scope = request.scope
        if scope.method != "GET" or not self.is_calm:
            return False
        path, query = scope.path, _QUERY.fullmatch(scope.query_string)
        if query is None:
            return False
        limit = int(query[1] or DEFAULT_PAGE)
        asked = Asked(path, [("limit", query[1])] if query[1] else [])
        try:
            if path == LIST_ROUTE:
                return self._take_list(request, limit, asked, started)
            if limit <= LARGEST_PAGE and (found := _PAGE_PATH.fullmatch(path)):
                return self._take_page(request, found[1], limit, asked, started)
            if (found := _MESSAGE_PATH.fullmatch(path)) and not query[0]:
                return self._take_message(request, found[1], started)
        except (InvalidToken, InvalidMessage):
            # The application says what is wrong.
            pass
        return False

    def _take_message(self, request: DoorRequest, message_id: str, started: float) -> bool:
        usual = self.usual(request, READ)
        if usual is None or not ids.is_id(message_id) or not self.admit(usual):
            return False
        done = self._done(usual, MESSAGE_ROUTE, started, hot_message_answer)
        self._hot.message(usual.user_id, message_id, done)
        return True

    def _take_page(
        self, request: DoorRequest, thread_id: str, limit: int, asked: Asked, started: float
    ) -> bool:
        check_thread_id(thread_id)
        usual = self.usual(request, READ)
        if usual is None or not self.admit(usual):
            return False
        done = self._done(usual, PAGE_ROUTE, started, partial(page_answer, request=asked))
        self._hot.newest(usual.user_id, thread_id, limit, done)
        return True

    def _take_list(self, request: DoorRequest, limit: int, asked: Asked, started: float) -> bool:
        usual = self.usual(request, READ_THREADS)
        if usual is None or not self.admit(usual):
            return False
        done = self._done(usual, LIST_ROUTE, started, partial(list_answer, request=asked))
        self._lists.submit((usual.user_id, ThreadQuery(limit)), done)
        return True

    def _done(
        self, usual: Usual, route: str, started: float, write: Write[Found]
    ) -> Done[Found | None]:
        def done(answers: Sequence[Found | None], error: Exception | None) -> None:
            try:
                found = None if error is not None else answers[0]
                if found is None:
                    self.fallback(usual.request, b"", {TAKEN: usual.left})
                    return
                seconds = time.perf_counter() - started
                own, content = write(found, round(seconds * 1000, 3))
                headers: Headers = [*HEADERS, *own.items()]
                self.answer(usual, "GET", route, headers, content, seconds)
            # Whatever it is, the client waits for an answer.
            except Exception as failure:
                log.error("unexpected", exc_info=failure, request_id=usual.request_id)
                usual.request.respond(500, [CLOSE], b"")

        return done
