"""Python clients of either kind, by one set of calls."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from inspect import isawaitable
from typing import Any

import httpx

from threadkeep_client import AsyncThreadkeep, Retries, Threadkeep

PATIENT = Retries(attempts=60, longest_seconds=1)
"""Until a supervisor has restarted what was killed."""

MakeClient = Callable[..., Any]


class Awaited:
    """An `AsyncThreadkeep` as if it were a `Threadkeep`, so that one test is for both."""

    def __init__(self, client: AsyncThreadkeep, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._loop = loop

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*given: Any, **named: Any) -> Any:
            made = method(*given, **named)
            if isinstance(made, AsyncGenerator):
                return self._each(made)
            if isinstance(made, AsyncThreadkeep):
                return Awaited(made, self._loop)
            return self._loop.run_until_complete(made) if isawaitable(made) else made

        return call

    def _each(self, found: AsyncGenerator[Any, None]) -> Iterator[Any]:
        try:
            while True:
                yield self._loop.run_until_complete(anext(found))
        except StopAsyncIteration:
            return
        finally:
            self._loop.run_until_complete(found.aclose())


def blocking(url: str, token: Any, **options: Any) -> Threadkeep:
    """A client that heeds no proxy of the environment."""
    return Threadkeep(url, token, http=httpx.Client(trust_env=False), **options)


def awaiting(url: str, token: Any, **options: Any) -> AsyncThreadkeep:
    """Likewise, asynchronous."""
    return AsyncThreadkeep(url, token, http=httpx.AsyncClient(trust_env=False), **options)
