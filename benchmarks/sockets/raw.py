"""A WebSocket for bad clients, which write their own bytes (RFC 6455)."""

import asyncio
import base64
import os
import socket
import struct
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

TEXT, BINARY, CLOSE, PING = 0x1, 0x2, 0x8, 0x9
_FINAL, _MASKED = 0x80, 0x80
_HEADER_END = b"\r\n\r\n"
_SMALL_BUFFER = 4_096


class Received(NamedTuple):
    """One frame of the server."""

    opcode: int
    payload: bytes

    @property
    def close_code(self) -> int:
        """The code of a close frame, 0 for one without."""
        return int.from_bytes(self.payload[:2], "big")


class RawSocket:
    """One connection, open or refused: `status` is that of the handshake."""

    def __init__(self, stream: tuple[asyncio.StreamReader, asyncio.StreamWriter], status: int):
        self.status = status
        self.reader, self.writer = stream

    @classmethod
    async def open(
        cls, address: str, token: str | None = None, *, origin: str = "", narrow: bool = False
    ) -> Self:
        """Opens a socket; `narrow` gives it the smallest buffer of the kernel."""
        parts = urlsplit(address)
        own = socket.socket()
        if narrow:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
        own.setblocking(False)
        await asyncio.get_running_loop().sock_connect(own, (parts.hostname, parts.port or 80))
        stream = await asyncio.open_connection(sock=own, limit=_SMALL_BUFFER if narrow else 2**16)
        reader, writer = stream
        lines = [
            f"GET {parts.path} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        ]
        if token is not None:
            lines.append(f"Authorization: Bearer {token}")
        if origin:
            lines.append(f"Origin: {origin}")
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head = await reader.readuntil(_HEADER_END)
        return cls(stream, int(head[9:12]))

    async def send_frame(self, payload: bytes, opcode: int = TEXT) -> None:
        """Sends one frame; waits while the server reads nothing. Raises `OSError`."""
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", _FINAL | opcode, _MASKED | size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", _FINAL | opcode, _MASKED | 126, size)
        else:
            head = struct.pack("!BBQ", _FINAL | opcode, _MASKED | 127, size)
        # A mask of zeros is valid and leaves the payload as it is.
        self.writer.write(head + bytes(4) + payload)
        await self.writer.drain()

    async def receive(self) -> Received:
        """The next frame. Raises `EOFError` and `OSError` at the end."""
        first, second = await self.reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            size = int.from_bytes(await self.reader.readexactly(2), "big")
        elif size == 127:
            size = int.from_bytes(await self.reader.readexactly(8), "big")
        return Received(first & 0x0F, await self.reader.readexactly(size))

    async def goodbye(self) -> int:
        """Reads up to the server's close frame; gives its code, 0 if it had none."""
        try:
            while True:
                received = await self.receive()
                if received.opcode == CLOSE:
                    return received.close_code
        except (EOFError, OSError):
            return 0

    def __enter__(self) -> Self:
        """The connection ends with the block, without a close frame."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.writer.transport.abort()
