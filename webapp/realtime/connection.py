"""One WebSocket over a socket that the HTTP server handed over: the protocol alone."""

import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import gevent
from wsproto.connection import Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason

from settings import Settings
from webapp.realtime.frames import EventFrame
from webapp.realtime.outbox import Outbox

READ_BYTES = 64 * 1024
PING_AFTER_SECONDS = 25.0
GONE_AFTER_SECONDS = 60.0
CLOSE_SECONDS = 2.0

OVERFLOW = 4008


class WebSocket:
    """The socket's owner. `received_at` is when bytes last arrived, by the monotonic clock."""

    def __init__(self, sock: Any, protocol: Connection, settings: Settings) -> None:
        self._socket = sock
        self._protocol = protocol
        self._most_bytes = settings.socket_frame_bytes
        self._stalled_seconds = settings.socket_stalled_seconds
        self._bucket = TokenBucket()
        self.outbox = Outbox(
            sock, settings.socket_queue_frames, settings.socket_queue_bytes, self.abort
        )
        self._parts: list[str] = []
        self._size = 0
        self._is_over = False
        self._ignores_input = False
        self._closing_at = 0.0
        self._pinged_at = 0.0
        self.received_at = time.monotonic()

    def put(self, frame: EventFrame) -> None:
        """Queues a frame. Closes the socket of a client that does not read, naming the event to
        resume from."""
        if not self.outbox.put(frame.text, frame.event_id):
            self._cut_off()

    def penalize(self) -> None:
        """Delays the reading of a client that sent a wrong frame."""
        self._bucket.take(ERROR_COST)

    def run(self, take: Callable[[bytes | None], None]) -> None:
        """Reads until the socket ends. `take` is given each text frame, None for a binary one."""
        try:
            while not self._is_over and (data := self._socket.recv(READ_BYTES)):
                self.received_at = time.monotonic()
                if not self._ignores_input:
                    self._read(data, take)
                # Reading bytes that are there already would give no other greenlet a turn.
                gevent.sleep(0)
        except OSError:
            # The client is gone: nobody is left to be told.
            pass
        finally:
            self.outbox.flush(CLOSE_SECONDS)
            self.outbox.discard()
            self._socket.close()

    def close(self, code: int, reason: str, *, instead: bool = False) -> None:
        """Sends a close frame after the frames that wait, or `instead` of them. Afterwards only the
        other side's close frame is heeded."""
        if self._protocol.state is ConnectionState.OPEN:
            close_frame = self._protocol.send(CloseConnection(code=code, reason=reason))
            # A client whose frames cannot be read any more cannot answer with a close frame either.
            self.outbox.end_with(close_frame, instead=instead, hangs_up=self._ignores_input)
            self._closing_at = time.monotonic()

    def abort(self) -> None:
        """Ends it at once; unread and unwritten data is lost."""
        self._is_over = True
        self.outbox.discard()
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            # It was closed already.
            pass

    def tick(self, now: float) -> None:
        """Pings a silent client, and ends one that is stuck or gone. `now` is monotonic seconds."""
        silent = now - self.received_at
        if self._closing_at:
            # A client that still reads the frames before the close frame may take its time.
            if now - max(self._closing_at, self.outbox.moved_at) > CLOSE_SECONDS:
                self.abort()
        elif silent > GONE_AFTER_SECONDS:
            self.abort()
        elif self.outbox.stalled_for(now) > self._stalled_seconds - CLOSE_SECONDS:
            # If it reads again in the remaining time it learns where to resume.
            self._cut_off()
        elif silent > PING_AFTER_SECONDS and self._pinged_at <= self.received_at:
            self._pinged_at = now
            self.outbox.put(self._protocol.send(Ping()))

    def _cut_off(self) -> None:
        self.close(OVERFLOW, f"resume from {self.outbox.last_id}", instead=True)

    def _read(self, data: bytes, take: Callable[[bytes | None], None]) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events():
            self._bucket.take()
            self.received_at = time.monotonic()
            if isinstance(event, CloseConnection):
                self._end(event)
            elif not self._closing_at:
                self._act(event, take)
            if self._ignores_input or self._is_over:
                break

    def _act(self, event: Event, take: Callable[[bytes | None], None]) -> None:
        if isinstance(event, TextMessage):
            self._collect(event, take)
        elif isinstance(event, BytesMessage):
            if event.message_finished:
                take(None)
        elif isinstance(event, Ping):
            self.outbox.put(self._protocol.send(Pong(payload=event.payload)))

    def _collect(self, event: TextMessage, take: Callable[[bytes | None], None]) -> None:
        part = event.data
        self._size += len(part) if part.isascii() else len(part.encode())
        if self._size > self._most_bytes:
            self._parts.clear()
            self._ignores_input = True
            self.close(CloseReason.MESSAGE_TOO_BIG, f"at most {self._most_bytes} bytes a frame")
            return
        self._parts.append(part)
        if event.message_finished:
            text = "".join(self._parts).encode()
            self._parts.clear()
            self._size = 0
            take(text)

    def _end(self, event: CloseConnection) -> None:
        state = self._protocol.state
        if state is ConnectionState.REMOTE_CLOSING:
            self.outbox.end_with(self._protocol.send(event.response()))
            self._is_over = True
        elif state is ConnectionState.CLOSED:
            self._is_over = True
        else:
            # These bytes are no WebSocket frame, so where the next one begins is unknown.
            self._ignores_input = True
            self.close(event.code, event.reason or "")


FRAMES_PER_SECOND = 200
BURST = 400
ERROR_COST = 20
"""Tokens that a wrong frame takes: it costs its sender little and the server more."""


class TokenBucket:
    """Limits how fast one client is read. Starts full."""

    def __init__(self) -> None:
        self._tokens = float(BURST)
        self._filled_at = time.monotonic()

    def take(self, tokens: int = 1) -> None:
        """Takes tokens; waits in this greenlet while there are too few."""
        now = time.monotonic()
        refilled = (now - self._filled_at) * FRAMES_PER_SECOND
        self._tokens = min(BURST, self._tokens + refilled) - tokens
        self._filled_at = now
        if self._tokens < 0:
            gevent.sleep(-self._tokens / FRAMES_PER_SECOND)
