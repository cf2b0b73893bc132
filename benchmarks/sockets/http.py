"""HTTP over plain asyncio streams: light, as the client shares the machine with the servers."""

import asyncio
import time
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

PAGE = 1_000
_HEADER_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class HttpAnswer(NamedTuple):
    """Status and body of an answer, and the seconds that it took."""

    status: int
    body: bytes
    seconds: float


class _Named(msgspec.Struct):
    id: str


class _Page(msgspec.Struct):
    messages: list[_Named]
    next_cursor: str | None = None


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Http:
    """Keeps connections open and takes a free one for each request."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._free: list[Stream] = []

    async def post(
        self, token: str, thread_id: str, body: bytes, key: str
    ) -> tuple[HttpAnswer, str | None]:
        """Posts a message; gives its id too, if it was acknowledged. Raises `OSError`."""
        answer = await self._call(
            f"POST /api/threads/{thread_id}/messages HTTP/1.1\r\nHost: {self._host}\r\n"
            f"Authorization: Bearer {token}\r\nIdempotency-Key: {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        if answer.status != 200:
            return answer, None
        return answer, msgspec.json.decode(answer.body, type=_Named).id

    async def read(self, token: str, thread_id: str) -> list[str]:
        """The ids of a thread's messages. Raises `OSError`, also for an answer that is no page."""
        found: list[str] = []
        cursor = ""
        while True:
            answer = await self._call(
                f"GET /api/threads/{thread_id}/messages?order=asc&limit={PAGE}{cursor} HTTP/1.1\r\n"
                f"Host: {self._host}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
            )
            if answer.status == 404:
                return found
            if answer.status != 200:
                raise OSError(f"reading a thread was answered with {answer.status}")
            page = msgspec.json.decode(answer.body, type=_Page)
            found += [one.id for one in page.messages]
            if page.next_cursor is None:
                return found
            cursor = f"&cursor={page.next_cursor}"

    def close(self) -> None:
        """Closes all connections."""
        for _, writer in self._free:
            writer.close()
        self._free.clear()

    async def _call(self, request: bytes) -> HttpAnswer:
        started = time.perf_counter()
        stream = self._free.pop() if self._free else None
        if stream is None:
            stream = await asyncio.open_connection(self._host, self._port)
        reader, writer = stream
        try:
            writer.write(request)
            head = await reader.readuntil(_HEADER_END)
            body = await reader.readexactly(_content_length(head))
        except EOFError as error:
            writer.close()
            raise ConnectionError("the server closed the connection") from error
        except BaseException:
            writer.close()
            raise
        self._free.append(stream)
        return HttpAnswer(int(head[9:12]), body, time.perf_counter() - started)


def _content_length(head: bytes) -> int:
    lowered = head.lower()
    at = lowered.find(_LENGTH)
    return int(lowered[at + len(_LENGTH) : lowered.find(b"\r\n", at)]) if at >= 0 else 0
