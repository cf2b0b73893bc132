"""One connection through a `FaultProxy`, and the faults that all connections of it share."""

import asyncio
import random
import socket
import struct
from contextlib import suppress

PIECE_BYTES = 65_536
HELD_PIECES = 256
"""What a stalled connection buffers before its sender has to wait."""

_HOLDING = frozenset({"blackhole", "stall"})
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Faults:
    """The current fault. Used on the proxy's loop only, except `dropped`."""

    def __init__(self) -> None:
        self.mode = "pass"
        self.dropped = 0
        self.flowing = asyncio.Event()
        self.flowing.set()
        self._seconds = 0.0
        self._jitter = 0.0
        self._rate = 0
        self._needle = b""
        self._skip = 0
        self._times = 0

    def switch(self, mode: str, seconds: float, jitter: float, rate: int = 0) -> None:
        """Begin a mode; no more replies are dropped."""
        self.mode, self._seconds, self._jitter, self._rate = mode, seconds, jitter, rate
        self._times = 0
        if mode in _HOLDING:
            self.flowing.clear()
        else:
            self.flowing.set()

    def arm(self, needle: bytes, nth: int, times: int) -> None:
        """Drop replies from the n-th request on that contains the needle."""
        self._needle, self._skip, self._times = needle, nth - 1, times

    def takes(self, request: bytes) -> bool:
        """Whether the reply to this request is to be dropped; counts the request."""
        if not self._times or self._needle not in request:
            return False
        if self._skip:
            self._skip -= 1
            return False
        self._times -= 1
        return True

    def passing_seconds(self, size: int) -> float:
        """The seconds that so many bytes of a request take."""
        return size / self._rate if self.mode == "narrow" else 0.0

    def delay(self) -> float:
        """Seconds by which a reply is delayed."""
        if self.mode != "latency":
            return 0.0
        return self._seconds + random.random() * self._jitter


class Connection:
    """A client's connection and the connection to the server that belongs to it."""

    def __init__(
        self, faults: Faults, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._faults = faults
        self._reader = reader
        self._writers = [writer]
        self._tasks: list[asyncio.Task[None]] = []
        self._drops_reply = False

    async def carry(self, host: str, port: int) -> None:
        """Forward in both directions until one side has closed or the connection is reset."""
        try:
            if self._faults.mode == "blackhole":
                await self._faults.flowing.wait()
            reader, writer = await asyncio.open_connection(host, port)
        except OSError:
            self.reset()
            return
        self._writers.append(writer)
        # A client that connected just before all were cut off was not listed yet.
        if self._writers[0].is_closing() or self._faults.mode == "refuse":
            self.reset()
            return
        self._tasks = [
            asyncio.create_task(self._forward(self._reader, writer, is_request=True)),
            asyncio.create_task(self._forward(reader, self._writers[0], is_request=False)),
        ]
        try:
            await asyncio.wait(self._tasks)
        finally:
            self._close()

    def reset(self) -> None:
        """Reset it on both sides: data under way is lost."""
        for writer in self._writers:
            raw = writer.get_extra_info("socket")
            if raw is not None and not writer.is_closing():
                with suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()

    def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            with suppress(OSError, RuntimeError):
                writer.close()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_request: bool
    ) -> None:
        """Forward one direction. Reading and writing are separate, so that each piece is delayed by
        the same time and delays do not add up."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(HELD_PIECES)
        taking = asyncio.create_task(self._take(reader, held, is_request=is_request))
        self._tasks.append(taking)
        with suppress(OSError):
            while True:
                due, piece = await held.get()
                await self._wait(due)
                if not piece:
                    break
                if is_request and (seconds := self._faults.passing_seconds(len(piece))):
                    await asyncio.sleep(seconds)
                writer.write(piece)
                await writer.drain()
            # The other direction may still have data.
            if writer.can_write_eof():
                writer.write_eof()
            return
        self.reset()

    async def _take(
        self,
        reader: asyncio.StreamReader,
        held: asyncio.Queue[tuple[float, bytes]],
        *,
        is_request: bool,
    ) -> None:
        now = asyncio.get_running_loop().time
        piece = b"first"
        while piece:
            try:
                piece = await reader.read(PIECE_BYTES)
            except OSError:
                self.reset()
                return
            if is_request and piece and self._faults.takes(piece):
                self._drops_reply = True
            elif not is_request and self._drops_reply:
                # A server that closed instead gave no reply to drop.
                self._faults.dropped += bool(piece)
                self.reset()
                return
            await held.put((now() + (0.0 if is_request else self._faults.delay()), piece))

    async def _wait(self, due: float) -> None:
        left = due - asyncio.get_running_loop().time()
        if left > 0:
            await asyncio.sleep(left)
        await self._faults.flowing.wait()
