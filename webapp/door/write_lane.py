"""The write lane: a usual post is acknowledged without the framework, and no thread waits for it.

What is unusual in a request, or in what came of it, the application answers in full, so that the
lane knows nothing but the one way in which nearly all posts go.
"""

import re
import time

import msgspec
import structlog
from flask import Flask
from msgspec import UNSET

from models.caveats import Acknowledgement
from models.message import InvalidMessage
from storage.messages.posts import Draft
from storage.messages.storage_service import Submitted
from webapp.api.messages import UNSETTLED, meaning_of
from webapp.door.bridge import CLOSE, DoorRequest
from webapp.door.lane import HEADERS, Fallback, Lane, Usual
from webapp.http.body.drafts import checked_draft
from webapp.http.context import of
from webapp.http.errors import BadRequest
from webapp.http.requests import joined
from webapp.http.schemas import PostMessage
from webapp.http.scopes import WRITE
from webapp.identity.caller import InvalidToken
from webapp.limits.limits import TAKEN

log = structlog.get_logger(__name__)

LARGEST_BYTES = 64 * 1024
"""A larger body takes the process's time away from the others' posts."""
ROUTE = "/api/threads/<thread_id>/messages"

_PATH = re.compile(r"/api/threads/([^/]+)/messages")
# A new message has the version 1.
_HEADERS = [*HEADERS, ("ETag", '"1"')]


class WriteLane(Lane):
    """Answers posts of messages to threads while Redis takes them."""

    def __init__(self, app: Flask, fallback: Fallback) -> None:
        """`fallback` has the application answer a request in another thread, with some more in its
        environment."""
        super().__init__(app, fallback, of(app).limits.write)
        self._decoder = msgspec.json.Decoder(PostMessage)

    def take(self, request: DoorRequest, body: bytes) -> bool:
        """Whether this is a usual post, which another thread answers then."""
        started = time.perf_counter()
        found = _PATH.fullmatch(request.scope.path)
        if found is None or request.scope.method != "POST" or not self.is_calm:
            return False
        thread_id = found[1]
        try:
            usual = self.usual(request, WRITE)
            draft = self._draft(usual, body, thread_id) if usual is not None else None
        except (BadRequest, InvalidToken, InvalidMessage, ValueError, RecursionError):
            # The application says what is wrong.
            return False
        if usual is None or draft is None or not self.admit(usual):
            return False

        def done(outcome: Submitted) -> None:
            try:
                if isinstance(outcome, Acknowledgement):
                    self._acknowledge(usual, outcome, started)
                else:
                    self.fallback(request, body, {UNSETTLED: outcome, TAKEN: usual.left})
            # Whatever it is, the client waits for an answer.
            except Exception as error:
                log.error("unexpected", exc_info=error, request_id=usual.request_id)
                request.respond(500, [CLOSE], b"")

        self.web.services.messages.submit(usual.user_id, thread_id, draft, done)
        return True

    def _draft(self, usual: Usual, body: bytes, thread_id: str) -> Draft | None:
        """The message, unless something of it is unusual. Raises what is wrong with it."""
        if len(body) > LARGEST_BYTES or usual.request.scope.query_string:
            return None
        given = self._decoder.decode(body)
        if given.durability != "fsynced":
            return None
        key = usual.headers.get("idempotency-key")
        text = given.message
        if text is UNSET or given.content is not UNSET:
            text = given.required_text()
        return checked_draft(thread_id, given.role, text, given.metadata, key)

    def _acknowledge(self, usual: Usual, done: Acknowledgement, started: float) -> None:
        web = self.web
        if done.wake_slot is not None:
            web.wake(done.wake_slot, usual.request_id)
        seconds = time.perf_counter() - started
        web.services.performance.answered.note(seconds)
        content = joined(done.record, meaning_of(done, round(seconds * 1000, 3)))
        self.answer(usual, "POST", ROUTE, _HEADERS, content, seconds)
