"""Clients that misbehave, in a process of their own: `python -m benchmarks.sockets.bad_clients`.

Reads one line of JSON, misbehaves until its input ends, and prints in one line how often each kind
of client had which outcome.
"""

import asyncio
import os
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from socket import IPPROTO_TCP, TCP_INFO

import msgspec

from benchmarks.sockets.frames import decoded, encoded
from benchmarks.sockets.raw import BINARY, CLOSE, TEXT, RawSocket

AGAIN_SECONDS = 0.25
HUGE_BYTES = 10 * 1024 * 1024
LONG_TEXT = "x" * 48 * 1024
LONG_PER_SECOND = 8
TCP_ESTABLISHED = 1
FOREIGN_ORIGIN = "https://elsewhere.example"


class Given(msgspec.Struct):
    """The input: the kinds of clients, all if none is named, bad tokens by kind, and the victim."""

    kinds: list[str]
    ws_url: str
    own: str
    deaf: str
    expired: str
    forged: str
    theirs: str
    their_user: str
    their_thread: str
    their_event_id: str


Seen = Counter[str]


async def expired(given: Given, seen: Seen) -> None:
    """Sends an expired token."""
    await _refused_with(given, given.expired, seen)


async def forged(given: Given, seen: Seen) -> None:
    """Sends a token with a forged signature."""
    await _refused_with(given, given.forged, seen)


async def silent(given: Given, seen: Seen) -> None:
    """Sends a first frame without a token."""
    with await RawSocket.open(given.ws_url) as socket:
        await socket.send_frame(encoded("subscribe"))
        seen[f"closed {await socket.goodbye()}"] += 1


async def from_elsewhere(given: Given, seen: Seen) -> None:
    """Sends a good token from a page of another origin."""
    origin = FOREIGN_ORIGIN
    with await RawSocket.open(given.ws_url, given.own, origin=origin) as socket:
        seen[f"handshake {socket.status}"] += 1


async def huge(given: Given, seen: Seen) -> None:
    """Sends frames of 10 MB."""
    with await RawSocket.open(given.ws_url, given.own) as socket:
        goodbye = asyncio.create_task(socket.goodbye())
        try:
            await socket.send_frame(b"x" * HUGE_BYTES)
        except OSError:
            seen["cut off while it wrote"] += 1
        seen[f"closed {await goodbye}"] += 1


async def no_protocol(given: Given, seen: Seen) -> None:
    """Sends bytes that are no frames."""
    with await RawSocket.open(given.ws_url, given.own) as socket:
        socket.writer.write(b"\xff" + os.urandom(4_096))
        seen[f"closed {await socket.goodbye()}"] += 1


async def garbage(given: Given, seen: Seen) -> None:
    """Sends wrong frames as fast as they are taken."""
    with await RawSocket.open(given.ws_url, given.own) as socket:
        listening = asyncio.create_task(_count_answers(socket, seen))
        try:
            while not listening.done():
                await socket.send_frame(*random.choice(_GARBAGE))
                seen["sent"] += 1
        finally:
            listening.cancel()


async def deaf(given: Given, seen: Seen) -> None:
    """Has many events to receive and does not read them."""
    socket = await RawSocket.open(given.ws_url, given.deaf, narrow=True)
    talker = await RawSocket.open(given.ws_url, given.deaf)
    hearing = asyncio.create_task(_count_answers(talker, Counter()))
    with socket, talker:
        try:
            while not _is_cut_off(socket):
                await talker.send_frame(encoded("send_message", thread_id="t", message=LONG_TEXT))
                await asyncio.sleep(1 / LONG_PER_SECOND)
            seen["cut off"] += 1
        finally:
            hearing.cancel()


async def someone_else(given: Given, seen: Seen) -> None:
    """Sends its own good token, then another user's threads, cursor and token."""
    with await RawSocket.open(given.ws_url, given.own) as socket:
        listening = asyncio.create_task(_count_leaks(socket, given, seen))
        try:
            stolen = {"thread_ids": [given.their_thread], "last_event_id": given.their_event_id}
            await socket.send_frame(encoded("subscribe", **stolen))
            while not listening.done():
                await socket.send_frame(encoded("authenticate", token=given.theirs))
                intrusion = {"thread_id": given.their_thread, "message": "intruder"}
                await socket.send_frame(encoded("send_message", **intrusion))
                await asyncio.sleep(AGAIN_SECONDS)
        finally:
            listening.cancel()


_GARBAGE: tuple[tuple[bytes, int], ...] = (
    (b"", TEXT),
    (b"{", TEXT),
    (b"[" * 5_000, TEXT),
    (b'{"type": "nonsense"}', TEXT),
    (b'{"type": "send_message", "thread_id": 7}', TEXT),
    (b'{"type": "subscribe", "thread_ids": ["' + b"x" * 4_000 + b'"]}', TEXT),
    (b'{"type": "send_message", "thread_id": "t", "message": "\\u0000"}', TEXT),
    (bytes(range(256)), BINARY),
)
_KINDS: dict[str, Callable[[Given, Seen], Awaitable[None]]] = {
    work.__name__: work
    for work in (
        expired,
        forged,
        silent,
        from_elsewhere,
        huge,
        no_protocol,
        garbage,
        deaf,
        someone_else,
    )
}


async def _refused_with(given: Given, token: str, seen: Seen) -> None:
    with await RawSocket.open(given.ws_url, token) as socket:
        seen[f"closed {await socket.goodbye()}"] += 1


async def _count_answers(socket: RawSocket, seen: Seen) -> None:
    while (received := await socket.receive()).opcode != CLOSE:
        if received.opcode == TEXT:
            frame = decoded(received.payload)
            seen[frame.code or frame.type] += 1
    seen[f"closed {received.close_code}"] += 1


async def _count_leaks(socket: RawSocket, given: Given, seen: Seen) -> None:
    """Counts the frames that it receives, and as `leaked` those of another user."""
    own: set[str] = set()
    while (received := await socket.receive()).opcode != CLOSE:
        if received.opcode != TEXT:
            continue
        frame = decoded(received.payload)
        seen[frame.code or frame.type] += 1
        if frame.type == "message_confirmed":
            own.add(frame.message_id or "")
        elif given.their_user == frame.user_id or (frame.message_id or "") not in own | {""}:
            seen["leaked"] += 1
    seen[f"closed {received.close_code}"] += 1


def _is_cut_off(socket: RawSocket) -> bool:
    """Whether the server has ended the connection, without reading from it."""
    state = socket.writer.get_extra_info("socket").getsockopt(IPPROTO_TCP, TCP_INFO, 1)[0]
    return bool(state != TCP_ESTABLISHED)


async def _go_on(kind: str, given: Given, seen: Seen) -> None:
    while True:
        try:
            await _KINDS[kind](given, seen)
        except (OSError, EOFError, msgspec.DecodeError) as error:
            seen[type(error).__name__] += 1
        await asyncio.sleep(AGAIN_SECONDS)


async def _misbehave(given: Given) -> dict[str, Seen]:
    seen = {kind: Counter[str]() for kind in given.kinds or _KINDS}
    tasks = [asyncio.create_task(_go_on(kind, given, seen[kind])) for kind in seen]
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return seen


def main() -> None:
    """Runs the clients."""
    given = msgspec.json.decode(sys.stdin.readline(), type=Given)
    seen = asyncio.run(_misbehave(given))
    sys.stdout.buffer.write(msgspec.json.encode(seen))


if __name__ == "__main__":
    main()
