"""Reads the body of one request, with a deadline, a least rate and a largest size."""

from collections.abc import Callable
from typing import Any, Protocol

from webapp.door.admission import Allowance, BodyBudget
from webapp.door.bridge import CLOSE, DoorRequest, Missing

SMALL_BYTES = 64 * 1024
"""A larger body, or one that does not come at once, is read only for a valid token."""
REFUSED_SECONDS = 0.25
"""The body of a refused request is discarded for so long, and up to `SMALL_BYTES`."""
OVERSIZE_SECONDS = 2.0
OVERSIZE_BYTES = 32 * 1024 * 1024
"""Likewise a body that is too large: a client that is cut off while it sends sees no answer."""
GRACE_SECONDS = 2
LEAST_BYTES_PER_SECOND = 1024
BODY_SECONDS = 10.0

TOO_SLOW = (408, "request_timeout", "the body did not come in time")
NO_BUDGET = (503, "server_busy", "too many large bodies are on their way; please try again")
TOO_LARGE = (413, "body_too_large", "the body is larger than this call takes")
UNREAD = (400, "body_unread", "the body was not read")


class Host(Protocol):
    """What a reader needs of the door."""

    budget: BodyBudget
    reading: "set[BodyReader]"

    @property
    def now(self) -> float:
        """Seconds for which this process has run; time when it was stopped is not counted."""

    def allowance(self, request: DoorRequest) -> Allowance:
        """How large a body the sender of a request may send."""

    def answer(
        self, request: DoorRequest, body: bytes | Missing, after: Callable[[], None]
    ) -> None:
        """Has a request answered, in this thread or a later one, and calls `after` then."""


class BodyReader:
    """One request, from its headers to the last byte of its body. Safe for threads: `claim` decides
    which of them ends it."""

    def __init__(self, host: Host, request: DoorRequest) -> None:
        self._host, self._request = host, request
        length = request.headers.get("content-length")
        self._wanted: int | None = int(length) if length else None
        self._began = host.now
        self._parts: list[bytes] = []
        self._size = 0
        self._allowance: int | None = None
        self._user_id = ""
        self._budgeted = SMALL_BYTES
        self._coming: Any = None

    def begin(self) -> None:
        """Starts to read."""
        self._host.reading.add(self)
        if self._wanted is not None and self._wanted > SMALL_BYTES:
            self._check_allowance()
        self._request.begin_body()
        self._read_next()

    def overdue(self) -> bytes | Missing | None:
        """What to end it with if it takes too long, else None."""
        age = self._host.now - self._began
        if self._allowance is None and age >= REFUSED_SECONDS:
            self._check_allowance()
        if self._is_refused:
            most = OVERSIZE_SECONDS if self._allowance else REFUSED_SECONDS
            return self._unread() if age >= most else None
        least = LEAST_BYTES_PER_SECOND * int(max(0, age - GRACE_SECONDS))
        is_late = age >= BODY_SECONDS or self._size < least
        return Missing(*TOO_SLOW) if is_late else None

    def claim(self) -> bool:
        """Whether the caller is to end it; True for one caller only."""
        try:
            self._host.reading.remove(self)
        except KeyError:
            return False
        coming, self._coming = self._coming, None
        if coming is not None:
            coming.cancel()
        return True

    def end(self, body: bytes | Missing) -> None:
        """Has the request answered with this body."""
        if self.claim():
            self._host.answer(self._request, body, self.release)

    @property
    def request(self) -> DoorRequest:
        """The request itself."""
        return self._request

    def release(self) -> None:
        """Frees the memory that it reserved."""
        self._host.budget.release(self)

    @property
    def _is_complete(self) -> bool:
        return self._wanted is not None and self._size >= self._wanted

    @property
    def _is_refused(self) -> bool:
        """Whether the request is refused, or its body is or will be too large."""
        if self._allowance is None:
            return False
        return not self._allowance or max(self._size, self._wanted or 0) > self._allowance

    def _unread(self) -> Missing:
        """Stands for a refused body. The application refuses the request before reading it, except
        with chunks, whose size is not known in advance."""
        return Missing(*(TOO_LARGE if self._allowance else UNREAD))

    def _check_allowance(self) -> None:
        self._user_id, self._allowance = self._host.allowance(self._request)

    def _read_next(self) -> None:
        # The future holds this reader; kept longer than it waits, each would keep the other alive.
        self._coming = coming = self._request.next_part()
        coming.add_done_callback(self._on_part)
        if self not in self._host.reading:
            # Ended meanwhile by a thread that did not see this future.
            self._coming = None
            coming.cancel()

    def _on_part(self, done: Any) -> None:
        self._coming = None
        if self not in self._host.reading:
            return
        part = done.result()
        if not part:
            self._on_end()
            return
        self._size += len(part)
        if self._allowance is None and not self._is_complete:
            self._check_allowance()
        if not self._store(part):
            return
        if self._is_complete:
            self.end(b"".join(self._parts))
        else:
            self._read_next()

    def _store(self, part: bytes) -> bool:
        """Keeps a part, or discards it; False if that ended the request."""
        if self._is_refused:
            self._parts.clear()
            most = OVERSIZE_BYTES if self._allowance else SMALL_BYTES
            if self._is_complete or self._size >= most:
                self.end(self._unread())
                return False
            return True
        self._parts.append(part)
        more = self._size - self._budgeted
        if more > 0:
            if not self._host.budget.acquire(self, self._user_id, more):
                self.end(Missing(*NO_BUDGET))
                return False
            self._budgeted += more
            if self not in self._host.reading:
                # Ended meanwhile by the clock, which freed what was reserved by then.
                self.release()
                return False
        return True

    def _on_end(self) -> None:
        """No more bytes come: a body in chunks is complete, or its sender is gone."""
        if self._wanted is None and self._has_ended():
            is_read = not self._is_refused
            self.end(b"".join(self._parts) if is_read else self._unread())
        elif self.claim():
            self.release()
            self._request.respond(400, [CLOSE], b"")

    def _has_ended(self) -> bool:
        """Whether the stream ended in order: asked again, only then does it say so."""
        try:
            self._request.next_part()
        except StopAsyncIteration:
            return True
        return False
