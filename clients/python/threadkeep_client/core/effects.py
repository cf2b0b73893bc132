"""What the core asks a client to do for it.

A `Flow` yields effects. The client performs each, sends the outcome back in, or throws
`Disconnected`, and ends up with what the flow returns.
"""

from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

Outcome = TypeVar("Outcome")

TokenProvider = Callable[[], str | Awaitable[str]]


@dataclass(frozen=True)
class Request:
    """Send this. The outcome is a `Response`."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes | None


@dataclass(frozen=True)
class Pause:
    """Wait this long."""

    seconds: float


@dataclass(frozen=True)
class NewToken:
    """Ask for a token. The outcome is its text."""

    provider: TokenProvider


@dataclass(frozen=True)
class Response:
    """What the server answered. The names of headers are found in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Disconnected(Exception):
    """No answer came: no connection, a connection that was lost, or a time-out."""


Effect = Request | Pause | NewToken
Flow = Generator[Effect, Any, Outcome]
