"""A stack that the tests of our clients break, and clients of either kind."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from selftest.bed.stack import Testbed, testbed
from settings import Settings
from support.calls.clients import token_of
from support.data.users import fresh_user
from support.own_clients import javascript
from support.own_clients.python import PATIENT, Awaited, MakeClient, awaiting, blocking
from support.stack.processes import Launched
from threadkeep_client import Threadkeep
from webapp.http.auth import Tokens

TOKEN_SECONDS = 3600


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


@pytest.fixture(scope="package")
def javascript_client() -> None:
    """Our JavaScript client, built."""
    javascript.build()


@pytest.fixture
def bed_token(bed: Testbed) -> str:
    """A token of somebody new, for the stack that is broken."""
    return token_of(bed, fresh_user())


@pytest.fixture
def patient(bed: Testbed, bed_token: str) -> Iterator[Threadkeep]:
    """A client that waits until what was killed is back."""
    with blocking(bed.url, bed_token, retries=PATIENT, timeout_seconds=10) as made:
        yield made
