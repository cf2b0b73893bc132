"""Alerts are told, raised and cleared while what would tell them is frozen."""

import signal
from collections.abc import Iterator

import pytest

import settings as configuration
from support.calls.api import Api, ok
from support.data.users import fresh_user
from support.stack.processes import Launched, launched
from support.waiting import eventually
from webapp.http.auth import Tokens

PROMISE_SECONDS = 15


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("frozen"), "flower") as stack:
        yield stack


@pytest.mark.extensive
@pytest.mark.parametrize(
    ("programs", "expected"),
    [
        (["worker"], {"no_progress"}),
        (["redis-data"], {"tier_unavailable redis"}),
        (["postgres"], {"tier_unavailable postgresql"}),
        (["redis-data", "postgres"], {"tier_unavailable redis", "tier_unavailable postgresql"}),
    ],
)
def test_alerts_are_told_whoever_is_frozen(
    own_stack: Launched, programs: list[str], expected: set[str]
) -> None:
    tokens = Tokens(configuration.load(own_stack.env))
    admin = Api(own_stack.url, tokens.issue(fresh_user(), is_admin=True, ttl_seconds=3600))

    def told() -> set[str]:
        found = ok(admin.get("/api/admin/performance-alerts"))["active_alerts"]
        ok(admin.get("/api/admin/road"))
        return {f"{one['type']} {one.get('tier', '')}".strip() for one in found}

    assert not told() & expected
    try:
        for program in programs:
            assert own_stack.signal(program, signal.SIGSTOP)
        eventually(lambda: told() >= expected, PROMISE_SECONDS)
    finally:
        for program in programs:
            own_stack.signal(program, signal.SIGCONT)
    eventually(lambda: not told() & expected, PROMISE_SECONDS)
