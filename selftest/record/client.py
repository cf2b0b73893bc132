"""A plain HTTP client that reports how each request ended and how long it took."""

import http.client
import time
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

TIMEOUT_SECONDS = 8.0

IDLE_SECONDS = 15.0
"""A connection that was idle for longer is not used again: the server closes idle ones after 30 s
and may be about to, as every client that keeps connections must expect."""

Outcome = Literal["answered", "timeout", "refused", "cut"]
"""`refused` never reached the server; after `timeout` and `cut` the request may have happened."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one request. Without an answer `status` is 0 and `body` empty.

    `connected`, when the connection was made, `began` and `ended` are seconds of the monotonic
    clock.
    """

    outcome: Outcome
    status: int = 0
    body: bytes = b""
    connected: float
    began: float
    ended: float

    @property
    def latency_ms(self) -> float:
        """How long it took, in milliseconds."""
        return (self.ended - self.began) * 1000

    def json(self) -> Any:
        """The decoded body. Raises `msgspec.DecodeError` if it is no JSON."""
        return msgspec.json.decode(self.body)


class RecordingClient:
    """One keep-alive connection of one user; for one thread at a time."""

    def __init__(self, url: str, token: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        parts = urlsplit(url)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._connected = 0.0
        self._used = 0.0
        self._link = http.client.HTTPConnection(
            parts.hostname or "127.0.0.1", parts.port or 80, timeout=timeout_seconds
        )

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Make one request; errors of the connection are in the answer.

        A request is never repeated here, not even on a dead connection.
        """
        began = time.monotonic()
        outcome: Outcome = "refused"
        if began - self._used > IDLE_SECONDS:
            self._link.close()
        try:
            if self._link.sock is None:
                self._connected = began
                self._link.connect()
            outcome = "cut"
            self._link.request(method, path, body, self._headers | (headers or {}))
            reply = self._link.getresponse()
            found = reply.read()
        except TimeoutError:
            return self._failed("timeout", began)
        except (OSError, http.client.HTTPException):
            return self._failed(outcome, began)
        if reply.will_close:
            self._link.close()
        self._used = time.monotonic()
        return Answer(
            outcome="answered",
            status=reply.status,
            body=found,
            connected=self._connected,
            began=began,
            ended=self._used,
        )

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    def _failed(self, outcome: Outcome, began: float) -> Answer:
        self._link.close()
        connected, ended = self._connected, time.monotonic()
        return Answer(outcome=outcome, connected=connected, began=began, ended=ended)
