"""A body on its way in: it has a deadline, a least rate and a most size."""

from collections.abc import Callable
from typing import Any, Protocol

from webapp.door.admission import Allowed, Room
from webapp.door.bridge import CLOSE, DoorRequest, Missing

SMALL_BYTES = 64 * 1024
"""What is larger, or not there at once, is gathered for those alone who may send it."""
REFUSED_SECONDS = 0.25
"""So long, and `SMALL_BYTES`, a body is read away whose request is refused."""
UNWANTED_SECONDS = 2.0
UNWANTED_BYTES = 32 * 1024 * 1024
"""Likewise one that is larger than its sender may send: who is cut off while it sends never sees
why."""
GRACE_SECONDS = 2
LEAST_BYTES_PER_SECOND = 1024
WHOLE_SECONDS = 10.0

TOO_SLOW = (408, "request_timeout", "the body did not come in time")
NO_ROOM = (503, "server_busy", "too many large bodies are on their way; please try again")
TOO_LARGE = (413, "body_too_large", "the body is larger than this call takes")
UNREAD = (400, "body_unread", "the body was not read")


class Host(Protocol):
    """What an arrival needs of the door."""

    room: Room
    under_way: "set[Arrival]"

    @property
    def now(self) -> float:
        """Seconds, of a process that runs."""

    def allowed(self, request: DoorRequest) -> Allowed:
        """What a request may bring."""

    def answer(
        self, request: DoorRequest, body: bytes | Missing, after: Callable[[], None]
    ) -> None:
        """Has a request answered in this thread or a later one, and calls `after` then."""


class Arrival:
    """One request from its headers to the last byte of its body."""

    def __init__(self, host: Host, request: DoorRequest) -> None:
        self._host, self._request = host, request
        length = request.headers.get("content-length")
        self._wanted: int | None = int(length) if length else None
        self._began = host.now
        self._parts: list[bytes] = []
        self._size = 0
        self._allowed: int | None = None
        self._user_id = ""
        self._has_room_for = SMALL_BYTES
        self._coming: Any = None

    def begin(self) -> None:
        """Starts to read. Whoever takes it from those that are under way ends it."""
        self._host.under_way.add(self)
        if self._wanted is not None and self._wanted > SMALL_BYTES:
            self._judge()
        self._request.begin_body()
        self._read_on()

    def late(self) -> bytes | Missing | None:
        """What it ends with where it takes too long."""
        age = self._host.now - self._began
        if self._allowed is None and age >= REFUSED_SECONDS:
            self._judge()
        if self._is_unwanted:
            most = UNWANTED_SECONDS if self._allowed else REFUSED_SECONDS
            return self._unread() if age >= most else None
        least = LEAST_BYTES_PER_SECOND * int(max(0, age - GRACE_SECONDS))
        is_late = age >= WHOLE_SECONDS or self._size < least
        return Missing(*TOO_SLOW) if is_late else None

    def claim(self) -> bool:
        """Whether it is the caller's to end, and no other thread's."""
        try:
            self._host.under_way.remove(self)
        except KeyError:
            return False
        coming, self._coming = self._coming, None
        if coming is not None:
            coming.cancel()
        return True

    def end(self, body: bytes | Missing) -> None:
        """Has it answered."""
        if self.claim():
            self._host.answer(self._request, body, self.leave)

    @property
    def request(self) -> DoorRequest:
        """The request itself."""
        return self._request

    def leave(self) -> None:
        """Gives back the room that it took."""
        self._host.room.leave(self)

    @property
    def _is_whole(self) -> bool:
        return self._wanted is not None and self._size >= self._wanted

    @property
    def _is_unwanted(self) -> bool:
        """Whether it is refused, or is or will be more than its sender may send."""
        if self._allowed is None:
            return False
        return not self._allowed or max(self._size, self._wanted or 0) > self._allowed

    def _unread(self) -> Missing:
        """In the place of what is unwanted. The application refuses it before it reads it, but for
        chunks, which nobody knows the size of."""
        return Missing(*(TOO_LARGE if self._allowed else UNREAD))

    def _judge(self) -> None:
        self._user_id, self._allowed = self._host.allowed(self._request)

    def _read_on(self) -> None:
        # One future holds this arrival, and it must not hold that for longer than it waits.
        self._coming = coming = self._request.next_part()
        coming.add_done_callback(self._come)
        if self not in self._host.under_way:
            # Ended meanwhile, by a thread that did not see what is waited for here.
            self._coming = None
            coming.cancel()

    def _come(self, done: Any) -> None:
        self._coming = None
        if self not in self._host.under_way:
            return
        part = done.result()
        if not part:
            self._finish()
            return
        self._size += len(part)
        if self._allowed is None and not self._is_whole:
            self._judge()
        if not self._keep(part):
            return
        if self._is_whole:
            self.end(b"".join(self._parts))
        else:
            self._read_on()

    def _keep(self, part: bytes) -> bool:
        """Keeps what came, or reads it away; whether that was not its end."""
        if self._is_unwanted:
            self._parts.clear()
            most = UNWANTED_BYTES if self._allowed else SMALL_BYTES
            if self._is_whole or self._size >= most:
                self.end(self._unread())
                return False
            return True
        self._parts.append(part)
        more = self._size - self._has_room_for
        if more > 0:
            if not self._host.room.take(self, self._user_id, more):
                self.end(Missing(*NO_ROOM))
                return False
            self._has_room_for += more
            if self not in self._host.under_way:
                # Ended meanwhile by the clock, which gave back what there was by then.
                self.leave()
                return False
        return True

    def _finish(self) -> None:
        """Nothing more comes: a body in chunks is whole then, or its sender is gone."""
        if self._wanted is None and self._has_ended():
            is_read = not self._is_unwanted
            self.end(b"".join(self._parts) if is_read else self._unread())
        elif self.claim():
            self.leave()
            self._request.respond(400, [CLOSE], b"")

    def _has_ended(self) -> bool:
        """Whether the stream came to its end in order, by what it says when it is asked again."""
        try:
            self._request.next_part()
        except StopAsyncIteration:
            return True
        return False
