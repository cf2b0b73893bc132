"""One client with a socket: it keeps what it receives, and reconnects when it is cut off.

As a client should, it resumes from its last event id, repeats unconfirmed messages under the same
key, and reads over HTTP after a reset.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from benchmarks.sockets.frames import ClientFrame, decoded, encoded
from benchmarks.sockets.history import HistoryFrame
from benchmarks.sockets.ledger import SocketLedger

RETRY_SECONDS = 0.5
OPEN_SECONDS = 20.0

Read = Callable[[], Awaitable[list[str]]]


class SocketClient:
    """A client of a user, known by its number. Times are of the monotonic clock."""

    def __init__(
        self, number: int, user_id: str, token: str, address: str, ledger: SocketLedger, read: Read
    ) -> None:
        """`read` gives the ids of all of the user's messages, over HTTP. Raises `OSError`."""
        self.number = number
        self.user_id = user_id
        self.history: list[HistoryFrame] = []
        self.opened = 0
        self.resets = 0
        self.refused: list[str] = []
        self.is_in = asyncio.Event()
        self._token = token
        self._address = address
        self._ledger = ledger
        self._read = read
        self._last_event_id = ""
        self._unconfirmed: dict[str, bytes] = {}
        self._socket: ClientConnection | None = None
        self._reading: set[asyncio.Task[None]] = set()

    @property
    def last_event_id(self) -> str:
        """The event id from which it would resume."""
        return self._last_event_id

    @property
    def is_reading(self) -> bool:
        """Whether it still reads over HTTP what it missed."""
        return bool(self._reading)

    async def run(self) -> None:
        """Stays connected until it is cancelled."""
        while True:
            try:
                async with connect(
                    self._address,
                    subprotocols=[Subprotocol("bearer"), Subprotocol(self._token)],
                    compression=None,
                    proxy=None,
                    ping_interval=None,
                    max_queue=None,
                    open_timeout=OPEN_SECONDS,
                    close_timeout=RETRY_SECONDS,
                ) as socket:
                    await self._converse(socket)
            except (OSError, EOFError, WebSocketException) as error:
                if not isinstance(error, (ConnectionClosed, ConnectionError)):
                    self.refused.append(str(error) or type(error).__name__)
            finally:
                self._socket = None
                self.is_in.clear()
            await asyncio.sleep(random.uniform(0, RETRY_SECONDS))

    async def send(self, ref: str, thread_id: str, text: str) -> None:
        """Sends a message once there is a socket, and repeats it until it is confirmed."""
        frame = encoded(
            "send_message",
            thread_id=thread_id,
            message=text,
            client_ref=ref,
            idempotency_key=ref,
        )
        self._unconfirmed[ref] = frame
        self._ledger.ask(ref, self.user_id, self.number)
        await self._say(frame)

    async def cut(self, *, cleanly: bool) -> None:
        """Cuts its own connection: with a close frame, or by a reset at any point."""
        socket = self._socket
        if socket is None:
            return
        if cleanly:
            await socket.close()
        else:
            socket.transport.abort()

    async def _converse(self, socket: ClientConnection) -> None:
        self.opened += 1
        if self._last_event_id:
            await socket.send(encoded("subscribe", last_event_id=self._last_event_id), text=True)
        for again in list(self._unconfirmed.values()):
            self._ledger.again += 1
            await socket.send(again, text=True)
        self._socket = socket
        async for text in socket:
            self._take(decoded(text), time.perf_counter())

    def _take(self, frame: ClientFrame, at: float) -> None:
        if frame.event_id:
            self._last_event_id = frame.event_id
            kind = "message_repeated" if frame.repeated else frame.type
            self.history.append(
                HistoryFrame(kind, frame.event_id, frame.message_id or "", frame.user_id, at)
            )
        if frame.type == "message_confirmed":
            ref = str(frame.client_ref)
            self._unconfirmed.pop(ref, None)
            self._ledger.acknowledge(ref, frame.message_id or "", at)
        elif frame.type == "authenticated":
            self.is_in.set()
        elif frame.type == "reset":
            self.resets += 1
            self._soon(self._read_over())
        elif frame.type == "error":
            self.refused.append(frame.code)
            again = self._unconfirmed.get(str(frame.client_ref))
            if again is not None:
                self._soon(self._send_again(again))

    async def _send_again(self, frame: bytes) -> None:
        await asyncio.sleep(RETRY_SECONDS)
        self._ledger.again += 1
        await self._say(frame)

    async def _say(self, frame: bytes) -> None:
        if self._socket is not None:
            # A message that is not sent is repeated after the next connect.
            with suppress(ConnectionClosed):
                await self._socket.send(frame, text=True)

    async def _read_over(self) -> None:
        while True:
            try:
                found = await self._read()
            except (OSError, EOFError):
                await asyncio.sleep(RETRY_SECONDS)
                continue
            at = time.perf_counter()
            self.history += [
                HistoryFrame("read", "", message_id, self.user_id, at) for message_id in found
            ]
            return

    def _soon(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)
