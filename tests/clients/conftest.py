"""A stack that the tests of our clients break, and clients of either kind."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from inspect import isawaitable
from typing import Any

import httpx
import pytest
from threadkeep_client import AsyncThreadkeep, Retries, Threadkeep

from selftest.bed.stack import Testbed, testbed
from settings import Settings
from support.stack.processes import Launched
from webapp.http.auth import Tokens

PATIENT = Retries(attempts=60, longest_seconds=1)
"""Until the supervisor has restarted what was killed."""
TOKEN_SECONDS = 3600


class Awaited:
    """An `AsyncThreadkeep` as if it were a `Threadkeep`, so that one test is for both."""

    def __init__(self, client: AsyncThreadkeep, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._loop = loop

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*given: Any, **named: Any) -> Any:
            made = method(*given, **named)
            if isinstance(made, AsyncIterator):
                return self._each(made)
            if isinstance(made, AsyncThreadkeep):
                return Awaited(made, self._loop)
            return self._loop.run_until_complete(made) if isawaitable(made) else made

        return call

    def _each(self, found: AsyncIterator[Any]) -> Iterator[Any]:
        while True:
            try:
                yield self._loop.run_until_complete(anext(found))
            except StopAsyncIteration:
                return


def blocking(url: str, token: Any, **options: Any) -> Threadkeep:
    """A client that heeds no proxy of the environment."""
    return Threadkeep(url, token, http=httpx.Client(trust_env=False), **options)


def awaiting(url: str, token: Any, **options: Any) -> AsyncThreadkeep:
    """Likewise, asynchronous."""
    return AsyncThreadkeep(url, token, http=httpx.AsyncClient(trust_env=False), **options)


MakeClient = Callable[..., Any]


@pytest.fixture(params=["blocking", "awaiting"])
def make_client(request: pytest.FixtureRequest) -> Iterator[MakeClient]:
    """Makes clients of one kind: `make_client(url, token)`. They are closed at the end."""
    loop = asyncio.new_event_loop()
    made: list[Any] = []

    def make(url: str, token: Any, **options: Any) -> Any:
        if request.param == "blocking":
            made.append(blocking(url, token, **options))
        else:
            made.append(Awaited(awaiting(url, token, **options), loop))
        return made[-1]

    yield make
    for client in made:
        client.close()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


@pytest.fixture
def client(make_client: MakeClient, stack: Launched, user_token: str) -> Any:
    """A client of `user` on the shared stack."""
    return make_client(stack.url, user_token)


def _issue(settings: Settings, user: str) -> str:
    return Tokens(settings).issue(user, is_admin=False, ttl_seconds=TOKEN_SECONDS)


@pytest.fixture(scope="package")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    """The stack that these tests break; each leaves it whole."""
    with testbed(tmp_path_factory.mktemp("bed"), _issue, has_sockets=True) as running:
        yield running
