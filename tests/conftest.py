"""One real stack for the whole run, and what every test takes from it.

The stack is started once, by the first test that asks for it; unit tests never do. If it does not
start the run fails: a test that is skipped proves nothing.
"""

import signal
from collections.abc import Callable, Iterator

import pytest

import settings as configuration
from settings import Settings
from support.calls.api import Api
from support.data.users import fresh_user
from support.stack.processes import PATIENT, Launched, launched
from support.stack.tiers import tiers
from webapp.http.auth import Tokens
from wiring.process import Services

TOKEN_SECONDS = 3600


def pytest_configure() -> None:
    """Who is started by a shell in the background ignores SIGINT, and so would every program that
    a test interrupts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """The stack that all tests share: nobody stops, kills or empties any part of it."""
    with launched(tmp_path_factory.mktemp("stack"), **PATIENT) as running:
        yield running


@pytest.fixture(scope="session")
def settings(stack: Launched) -> Settings:
    return configuration.load(stack.env)


@pytest.fixture(scope="session")
def services(stack: Launched) -> Iterator[Services]:
    """The tiers of the shared stack, as one more process beside its own."""
    with tiers(stack.env) as shared:
        yield shared


@pytest.fixture(scope="session")
def token(settings: Settings) -> Callable[..., str]:
    """Makes a token: `token(user_id, admin=False)`."""
    tokens = Tokens(settings)

    def issue(user_id: str, *, admin: bool = False) -> str:
        return tokens.issue(user_id, is_admin=admin, ttl_seconds=TOKEN_SECONDS)

    return issue


@pytest.fixture
def user() -> str:
    return fresh_user()


@pytest.fixture
def user_token(token: Callable[..., str], user: str) -> str:
    return token(user)


@pytest.fixture
def api(stack: Launched, user_token: str) -> Api:
    """The API as `user`."""
    return Api(stack.url, user_token)


@pytest.fixture
def other_api(stack: Launched, token: Callable[..., str]) -> Api:
    """The API as somebody else."""
    return Api(stack.url, token(fresh_user()))


@pytest.fixture
def anonymous_api(stack: Launched) -> Api:
    """The API without a token."""
    return Api(stack.url, None)


@pytest.fixture
def admin_api(stack: Launched, token: Callable[..., str]) -> Api:
    """The API as an admin who owns nothing."""
    return Api(stack.url, token(fresh_user(), admin=True))
