"""One WebSocket over a socket that the HTTP server gave away: the protocol, and nothing else."""

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
    """The socket's owner. `heard_at` is when something came last, by the monotonic clock."""

    def __init__(self, sock: Any, protocol: Connection, settings: Settings) -> None:
        self._socket = sock
        self._protocol = protocol
        self._most_bytes = settings.socket_frame_bytes
        self._stalled_seconds = settings.socket_stalled_seconds
        self._bucket = Bucket()
        self.outbox = Outbox(
            sock, settings.socket_queue_frames, settings.socket_queue_bytes, self.abort
        )
        self._parts: list[str] = []
        self._size = 0
        self._is_over = False
        self._is_deaf = False
        self._closing_at = 0.0
        self._pinged_at = 0.0
        self.heard_at = time.monotonic()

    def put(self, frame: EventFrame) -> None:
        """Has a frame written; a client that does not read is cut off where it may go on from."""
        if not self.outbox.put(frame.text, frame.event_id):
            self._cut_off()

    def slow_down(self) -> None:
        """Has whoever sent a wrong frame pay for it by being read later."""
        self._bucket.take(WRONG_COSTS)

    def run(self, take: Callable[[bytes | None], None]) -> None:
        """Reads to the end. `take` is given each text frame, and None for a binary one."""
        try:
            while not self._is_over and (data := self._socket.recv(READ_BYTES)):
                self.heard_at = time.monotonic()
                if not self._is_deaf:
                    self._read(data, take)
                # Reading what is there already gives nobody else a turn.
                gevent.sleep(0)
        except OSError:
            # Whoever is gone has no use for a word about it.
            pass
        finally:
            self.outbox.flush(CLOSE_SECONDS)
            self.outbox.give_up()
            self._socket.close()

    def close(self, code: int, reason: str, *, instead: bool = False) -> None:
        """Says goodbye behind what waits to be written, or instead of it. What comes is ignored
        from now on but for the other side's goodbye."""
        if self._protocol.state is ConnectionState.OPEN:
            goodbye = self._protocol.send(CloseConnection(code=code, reason=reason))
            # From whom nothing more is understood no goodbye is awaited either.
            self.outbox.end_with(goodbye, instead=instead, hangs_up=self._is_deaf)
            self._closing_at = time.monotonic()

    def abort(self) -> None:
        """Ends it at once, with whatever is still unread or unwritten."""
        self._is_over = True
        self.outbox.give_up()
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            # It was gone already.
            pass

    def look_after(self, now: float) -> None:
        """Asks whether a silent client is there, and ends what is stuck or gone."""
        silent = now - self.heard_at
        if self._closing_at:
            # Who takes what waits before the goodbye may take its time.
            if now - max(self._closing_at, self.outbox.moved_at) > CLOSE_SECONDS:
                self.abort()
        elif silent > GONE_AFTER_SECONDS:
            self.abort()
        elif self.outbox.stalled_for(now) > self._stalled_seconds - CLOSE_SECONDS:
            # If it reads again in the rest of its time it learns where to go on.
            self._cut_off()
        elif silent > PING_AFTER_SECONDS and self._pinged_at <= self.heard_at:
            self._pinged_at = now
            self.outbox.put(self._protocol.send(Ping()))

    def _cut_off(self) -> None:
        self.close(OVERFLOW, f"resume from {self.outbox.last_id}", instead=True)

    def _read(self, data: bytes, take: Callable[[bytes | None], None]) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events():
            self._bucket.take()
            self.heard_at = time.monotonic()
            if isinstance(event, CloseConnection):
                self._end(event)
            elif not self._closing_at:
                self._act(event, take)
            if self._is_deaf or self._is_over:
                break

    def _act(self, event: Event, take: Callable[[bytes | None], None]) -> None:
        if isinstance(event, TextMessage):
            self._gather(event, take)
        elif isinstance(event, BytesMessage):
            if event.message_finished:
                take(None)
        elif isinstance(event, Ping):
            self.outbox.put(self._protocol.send(Pong(payload=event.payload)))

    def _gather(self, event: TextMessage, take: Callable[[bytes | None], None]) -> None:
        part = event.data
        self._size += len(part) if part.isascii() else len(part.encode())
        if self._size > self._most_bytes:
            self._parts.clear()
            self._is_deaf = True
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
            # What came is no WebSocket's, and where the next frame would begin nobody knows.
            self._is_deaf = True
            self.close(event.code, event.reason or "")


FRAMES_PER_SECOND = 200


BURST = 400


WRONG_COSTS = 20
"""What is answered with an error costs the others more time, and its sender little."""


class Bucket:
    """Full at first. Whoever takes more than comes in waits, and is read the slower for it."""

    def __init__(self) -> None:
        self._tokens = float(BURST)
        self._filled_at = time.monotonic()

    def take(self, tokens: int = 1) -> None:
        """Takes tokens, and waits for them if there are none."""
        now = time.monotonic()
        come_in = (now - self._filled_at) * FRAMES_PER_SECOND
        self._tokens = min(BURST, self._tokens + come_in) - tokens
        self._filled_at = now
        if self._tokens < 0:
            gevent.sleep(-self._tokens / FRAMES_PER_SECOND)
