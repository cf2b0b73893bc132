"""One client's frames on its WebSocket, and the answers to them."""

import time
from functools import partial
from typing import Any, NamedTuple

import gevent
import msgspec

from models.caveats import Acknowledgement
from models.message import check_thread_id
from storage.resilience import budget
from webapp.http.body.drafts import checked_draft
from webapp.http.context import Visit
from webapp.http.errors import RETRY_AFTER_SECONDS, BadRequest, Fault, fault_of, note_refusal
from webapp.http.schemas import AcknowledgementFields
from webapp.http.scopes import READ, WRITE, check_scope
from webapp.identity.caller import InvalidToken, NotAllowed
from webapp.limits.buckets import RateLimited
from webapp.realtime.connection import WebSocket
from webapp.realtime.frames import LAST_SECOND, authenticated_frame, frame
from webapp.realtime.listener import Listener
from webapp.realtime.process import Realtime
from webapp.realtime.protocol import (
    Authenticate,
    Ping,
    SendMessage,
    Subscribe,
    client_ref_in,
    cursor_in,
    decode_frame,
)

AUTHENTICATE_SECONDS = 5.0
RESUME_SECONDS = 0.25
"""A client has this long to say where it wants to resume from."""

BAD_TOKEN = 4401
TRY_LATER = 1013
RESTART = 1012


class Visitor(NamedTuple):
    """What the handshake says: the request's id, the address, and the user whom it names beside an
    API key."""

    request_id: str
    address: str
    on_behalf_of: str | None = None


class ClientSession:
    """One client, from its handshake to its end."""

    def __init__(self, process: Realtime, socket: WebSocket, visitor: Visitor) -> None:
        self._process = process
        self._socket = socket
        self._visitor = visitor
        self._request_id = visitor.request_id
        self._on_behalf_of = visitor.on_behalf_of
        self._visit: Visit | None = None
        self._began_at = time.monotonic()
        self._user_id = ""
        self._until = 0.0
        self._listener: Listener | None = None
        self._is_busy = False
        self._is_closing = False

    def run(self, token: str | None, refusal: Exception | None = None) -> None:
        """Serves the client until it leaves. Without a token its first frame must bring one;
        `refusal` is why the ticket that it brought is not taken."""
        self._process.connections.add(self, is_authenticated=False)
        try:
            if refusal is not None:
                self._guarded(None, partial(_refuse, refusal))
            elif token is not None:
                self._guarded(None, lambda: self._authenticate(token, None))
            self._socket.run(self._take)
        finally:
            self._process.connections.remove(self)
            if self._listener is not None:
                self._process.hub.leave(self._user_id, self._listener)
            if self._user_id:
                self._process.connections.release(self._user_id)

    def tick(self, now: float, wall: float) -> None:
        """Ends it when its token has expired or none has come, and ticks its socket."""
        if self._user_id and wall >= self._until:
            self._socket.close(BAD_TOKEN, "the token has expired")
        elif self._visit is not None and self._visit.is_over():
            self._socket.close(BAD_TOKEN, "the token was revoked")
        elif not self._user_id and now - self._began_at > AUTHENTICATE_SECONDS:
            self._socket.close(BAD_TOKEN, "no token came in time")
        self._socket.tick(now)

    def close_for_restart(self) -> None:
        """Closes it with 1012, after the frame that is being answered."""
        self._is_closing = True
        if not self._is_busy:
            self._socket.close(RESTART, "the server restarts, please come back")

    def _take(self, text: bytes | None) -> None:
        self._guarded(text, lambda: self._answer(text))
        if self._is_closing:
            self.close_for_restart()

    def _guarded(self, text: bytes | None, act: Any) -> None:
        """Answers a frame that fails with an error; only a bad token ends the socket."""
        self._is_busy = True
        budget.begin()
        try:
            act()
        except InvalidToken as error:
            if isinstance(error, NotAllowed) and self._listener is not None:
                # What a good credential may not do is an error as any other.
                self._fail(error, text)
            else:
                self._note(error, fault_of(error, self._request_id))
                self._socket.close(BAD_TOKEN, str(error)[:120])
        except Exception as error:
            self._fail(error, text)
        finally:
            budget.end()
            self._is_busy = False

    def _fail(self, error: Exception, text: bytes | None) -> None:
        fault = fault_of(error, self._request_id)
        self._note(error, fault)
        self._reply(
            "error",
            code=fault.code,
            detail=fault.detail,
            errors=fault.errors or None,
            client_ref=client_ref_in(text) if text else None,
            request_id=self._request_id,
            retry_after=_retry_after(error, fault.status),
        )
        if fault.status < 500:
            self._socket.penalize()

    def _note(self, error: Exception, fault: Fault) -> None:
        note_refusal(self._process.web.refusals, error, fault, self._visitor.address, "/api/ws")

    def _answer(self, text: bytes | None) -> None:
        command = self._decode(text)
        if isinstance(command, Authenticate):
            if command.on_behalf_of is not None:
                self._on_behalf_of = command.on_behalf_of
            self._authenticate(command.token, command.client_ref)
            return
        listener = self._listener
        if listener is None:
            raise InvalidToken("the first frame must bring a token")
        if isinstance(command, Subscribe):
            self._subscribe(listener, command)
        elif isinstance(command, SendMessage):
            listener.resume()
            if self._visit is not None:
                check_scope(self._visit.caller, WRITE)
            self._send(listener, command)
        elif isinstance(command, Ping):
            self._reply("pong", client_ref=command.client_ref)
        listener.resume()

    def _decode(self, text: bytes | None) -> Any:
        try:
            if text is None:
                raise BadRequest(415, "binary_frame", "frames are JSON text")
            return decode_frame(text)
        except BadRequest:
            if self._listener is None:
                raise InvalidToken("the first frame must bring a token") from None
            self._listener.resume()
            raise

    def _authenticate(self, token: str, client_ref: str | int | None) -> None:
        tokens = self._process.web.tokens
        caller, until = tokens.verify_until(token, self._on_behalf_of)
        check_scope(caller, READ)
        if self._listener is None:
            self._admit(caller.user_id)
        elif caller.user_id != self._user_id:
            raise BadRequest(409, "another_user", "this socket is another user's")
        if self._listener is None:
            return
        self._until = until
        self._visit = Visit(tokens, caller)
        event_id = self._listener.next_id()
        self._socket.put(authenticated_frame(event_id, caller.user_id, until, client_ref))

    def _admit(self, user_id: str) -> None:
        limits = self._process.web.limits
        limits.check(limits.take_of(limits.read, user_id), user_id)
        if not self._process.connections.acquire(user_id):
            self._socket.close(TRY_LATER, "this user has too many sockets open")
            return
        self._process.connections.mark_authenticated(self)
        self._user_id = user_id
        self._until = LAST_SECOND
        socket = self._socket
        listener = Listener(socket.outbox, socket.put, self._process.web.services.tiers.events)
        self._process.hub.join(user_id, listener)
        self._listener = listener
        gevent.spawn_later(RESUME_SECONDS, listener.resume)

    def _subscribe(self, listener: Listener, command: Subscribe) -> None:
        for thread_id in command.thread_ids or ():
            check_thread_id(thread_id)
        cursor = None if command.last_event_id is None else cursor_in(command.last_event_id)
        if cursor:
            listener.rewind(cursor)
        listener.threads = None if command.thread_ids is None else frozenset(command.thread_ids)
        self._reply(
            "subscribed",
            listener.next_id(),
            thread_ids=command.thread_ids,
            client_ref=command.client_ref,
        )
        if cursor == "":
            listener.reset()

    def _send(self, listener: Listener, command: SendMessage) -> None:
        started = time.perf_counter()
        draft = checked_draft(
            command.thread_id,
            command.role,
            command.required_text(),
            command.metadata,
            command.idempotency_key,
        )
        web = self._process.web
        web.limits.check(web.limits.take_of(web.limits.write, self._user_id), self._user_id)
        traced = web.services.tiers.tracing.work("socket send_message")
        with self._process.sends, listener.holding(), traced:
            done = web.services.messages.post(self._user_id, command.thread_id, draft)
            web.wake(done.wake_slot, self._request_id)
            if not done.repeated:
                listener.sent(done.message.id)
            seconds = time.perf_counter() - started
            web.services.performance.answered.note(seconds)
            self._confirm(listener, done, command.client_ref, seconds)
            if done.tier_used != "redis" and not done.repeated:
                self._process.hub.deliver_directly(done, listener)

    def _confirm(
        self,
        listener: Listener,
        done: Acknowledgement,
        client_ref: str | int | None,
        seconds: float,
    ) -> None:
        meaning = AcknowledgementFields(
            tier_used=done.tier_used,
            durability=done.durability,
            background_persistence=done.durability != "committed",
            latency_ms=round(seconds * 1000, 3),
            failover_reason=done.degraded.failover_reason or msgspec.UNSET,
            warning=done.degraded.warning or msgspec.UNSET,
        )
        self._reply(
            "message_confirmed",
            listener.next_id(),
            message_id=done.message.id,
            thread_id=done.message.thread_id,
            created_at=done.message.created_at,
            version=done.message.version,
            client_ref=client_ref,
            repeated=done.repeated or None,
            **msgspec.structs.asdict(meaning),
        )

    def _reply(self, kind: str, event_id: str = "", /, **fields: Any) -> None:
        self._socket.put(frame(kind, event_id, **fields))


def _retry_after(error: Exception, status: int) -> int | None:
    """After how many seconds a frame that failed may be repeated, where that helps."""
    if isinstance(error, RateLimited):
        return error.retry_after
    return RETRY_AFTER_SECONDS if status == 503 else None


def _refuse(refusal: Exception) -> None:
    raise refusal
