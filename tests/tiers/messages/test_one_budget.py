"""Every wait of a request, for whichever tier, ends when the time of the request is over."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from jobs.persist.drain import Drained
from selftest.bed.proxy import FaultProxy
from storage.errors import NoTierAvailable, TierUnavailable
from storage.postgres.driver import translated
from storage.resilience import budget
from support.faults.outages import post, process
from support.stack.clickhouse_requests import clickhouse_post
from wiring.process import Services

OWN_SECONDS = 60.0
"""The deadline of each call by itself."""
LEFT_SECONDS = 0.5


class Network(NamedTuple):
    """The ways of one process to its tiers, which wait for ever where that is wanted."""

    own: Services
    redis: FaultProxy
    postgres: FaultProxy
    clickhouse: FaultProxy


@pytest.fixture
def network(alone: Services) -> Iterator[Network]:
    with ExitStack() as stack:
        proxies, urls = [], {}
        for name in ("redis_url", "database_url", "clickhouse_url"):
            url = make_url(getattr(alone.settings, name))
            proxy = stack.enter_context(FaultProxy(url.host or "", url.port or 0))
            proxies.append(proxy)
            urls[name] = url.set(host=proxy.host, port=proxy.port).render_as_string(False)
        own = process(
            alone,
            redis_timeout_seconds=OWN_SECONDS,
            redis_slow_seconds=OWN_SECONDS,
            database_timeout_seconds=OWN_SECONDS,
            clickhouse_timeout_seconds=OWN_SECONDS,
            database_connections=1,
            **urls,
        )
        yield Network(own, *proxies)


def ends_soon(act: Callable[[], object]) -> TierUnavailable:
    """What an act with little time left raises, long before any deadline of its own."""
    began = time.monotonic()
    with budget.within(LEFT_SECONDS), pytest.raises(TierUnavailable) as refused:
        act()
    assert time.monotonic() - began < OWN_SECONDS / 2
    return refused.value


def test_redis_is_not_waited_for_longer(network: Network) -> None:
    own = network.own
    own.tiers.redis.ping()
    network.redis.stall()
    assert ends_soon(own.tiers.redis.ping).late
    network.redis.pass_through()
    # The next request has all its time, on the same connections.
    own.tiers.redis.ping()
    with own.tiers.redis_client.client() as lent:
        assert lent.connection is not None
        assert lent.connection.socket_timeout == OWN_SECONDS


def test_postgresql_is_not_waited_for_longer(network: Network) -> None:
    own = network.own
    own.tiers.postgres.ping()
    network.postgres.stall()
    assert ends_soon(own.tiers.postgres.ping).late
    network.postgres.pass_through()
    own.tiers.postgres.ping()


def test_nor_is_a_connection_to_it(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.postgres.engines.POOL_SECONDS", OWN_SECONDS)
    own = network.own
    with own.tiers.request_engine.connect() as connection:
        connection.execute(text("SELECT 1"))

        def act() -> None:
            with translated(), own.tiers.request_engine.connect():
                pass

        assert ends_soon(act).passing


def test_clickhouse_is_not_waited_for_longer(network: Network, user: str) -> None:
    own = network.own
    own.tiers.clickhouse.ping()
    network.clickhouse.stall()
    assert ends_soon(own.tiers.clickhouse.ping).late
    server = own.tiers.clickhouse_within(OWN_SECONDS)
    assert ends_soon(lambda: clickhouse_post(server, "SELECT 1")).late
    network.clickhouse.pass_through()
    assert clickhouse_post(server, "SELECT 1") == "1\n"


def test_what_one_tier_took_of_the_time_the_next_does_not_have(
    network: Network, alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    done = post(alone, user)
    drain()
    alone.tiers.redis_client.flushall()
    own = network.own
    own.tiers.postgres.ping()
    network.postgres.stall()
    refused = ends_soon(lambda: own.failover.retrieval.get(user, done.message.id))
    assert isinstance(refused, NoTierAvailable)
    assert f"clickhouse: {budget.NO_TIME}" in str(refused)
    # That there was no time says nothing of it.
    assert own.tiers.breakers.clickhouse.is_closed
