"""One Idempotency-Key is one message, whichever tier and whichever process is asked."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from sqlalchemy import Connection, event, text

from embedded.ports import HOST
from jobs.persist.drain import Drained
from models import appends
from selftest.bed.proxy import FaultProxy
from storage.availability.lease import Completeness
from storage.errors import KeyReused, TierUnavailable
from storage.postgres import idempotency
from support.faults.outages import believe_keys, post, process, rows, without
from support.patience import wait_for_locks
from support.waiting import eventually
from wiring.process import Services

pytestmark = pytest.mark.usefixtures("brought_home")


class Network(NamedTuple):
    """What stands between a process and its tiers."""

    redis: FaultProxy
    postgres: FaultProxy
    clickhouse: FaultProxy


@pytest.fixture
def network(alone: Services) -> Iterator[Network]:
    with ExitStack() as proxies:
        yield Network(*(proxies.enter_context(FaultProxy(HOST, port)) for port in ports(alone)))


def ports(alone: Services) -> list[int]:
    """Where Redis, PostgreSQL and ClickHouse listen."""
    given = alone.settings
    urls = (given.redis_url, given.database_url, given.clickhouse_url)
    return [urlsplit(url).port or 0 for url in urls]


def behind(network: Network, alone: Services, *out: str) -> Services:
    """Another process, behind a network of its own, and with these tiers out."""
    own = without(alone, *out).settings
    names = ("redis_url", "database_url", "clickhouse_url")
    urls = {
        name: getattr(own, name).replace(f":{port}", f":{proxy.port}")
        for name, port, proxy in zip(names, ports(alone), network, strict=True)
    }
    # A network that swallows everything is found out by Redis's own deadline.
    return process(alone, redis_timeout_seconds=0.25, **urls)


@pytest.mark.parametrize("out", [("redis",), ("redis", "database")])
def test_the_same_key_makes_one_message(alone: Services, user: str, out: tuple[str, ...]) -> None:
    own = without(alone, *out)
    first, second = post(own, user, "a", "k"), post(own, user, "a", "k")
    assert second.message.id == first.message.id
    assert second.repeated
    alone.failover.handoff.replay()
    assert [row[2] for row in rows(alone, user)] == ["a"]


def test_a_key_that_only_postgresql_knows_is_honoured_by_redis(alone: Services, user: str) -> None:
    first = post(without(alone, "redis"), user, "a", "k")
    second = post(alone, user, "a", "k")
    assert second.message.id == first.message.id
    assert [row[2] for row in rows(alone, user)] == ["a"]


def test_a_key_is_honoured_by_a_process_that_was_kept_from_its_lease(
    alone: Services, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    believe_keys(alone)
    own = process(alone)
    finds_all_well(own, user)
    monkeypatch.setattr(own.failover.lease._thread, "work", lambda: None)
    eventually(lambda: not own.failover.lease.current(wait=False).is_known)
    first = post(without(alone, "redis"), user, "a", "k")
    again = post(own, user, "a", "k")
    assert (again.message, again.repeated) == (first.message, True)


def test_postgresql_is_waited_for_where_redis_is_known_to_lack_keys(
    alone: Services, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry_seconds = 0.05
    monkeypatch.setattr("storage.messages.postgres_writes.HURRY_SECONDS", hurry_seconds)
    monkeypatch.setattr("storage.availability.lease.LEASE_SECONDS", 10)
    own = process(alone)
    event.listen(own.tiers.quick_engine, "begin", wait_for_locks)
    first = post(without(alone, "redis"), user, "a", "k")
    eventually(lambda: own.failover.lease.current() == Completeness(postgres_complete=True))
    with ThreadPoolExecutor() as pool:
        with alone.tiers.job_engine.begin() as connection:
            connection.execute(text("LOCK TABLE idempotency_keys"))
            waiting = pool.submit(post, own, user, "a", "k")
            eventually(lambda: wait(connection) > hurry_seconds)
        again = waiting.result()
    assert (again.message, again.repeated) == (first.message, True)


def wait(connection: Connection) -> float:
    """For how many seconds somebody has waited for a table."""
    lasts = connection.execute(text("SELECT max(clock_timestamp() - waitstart) FROM pg_locks"))
    return (lasts.scalar_one() or timedelta()).total_seconds()


def test_a_key_outlives_a_redis_that_lost_everything(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    first = post(alone, user, "a", "k")
    drain()
    alone.tiers.redis_client.flushall()
    alone.failover.redis_recovery.adopt()
    second = post(without(alone), user, "a", "k")
    assert (second.message.id, second.repeated) == (first.message.id, True)


def test_a_key_that_only_redis_knew_is_told_as_soon_as_redis_is_out(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    first = process(alone)
    done = post(first, user, "a", "k")
    first.tiers.breakers.redis.open("gone")
    other = without(alone, "redis")
    eventually(lambda: _knows(alone, user))
    again = post(other, user, "a", "k")
    # Nobody else has it yet, and what is said of it is true to the byte.
    assert (again.message, again.repeated) == (done.message, True)
    with pytest.raises(KeyReused):
        post(other, user, "b", "k")
    drain()
    assert [row[0] for row in rows(alone, user)] == [done.message.id]


def _knows(alone: Services, user: str) -> bool:
    key = appends.Key(user, "t", "k")
    with alone.tiers.job_engine.connect() as connection:
        return bool(idempotency.find(connection, [key], 60))


def finds_all_well(own: Services, user: str) -> None:
    """Lets a process see Redis well, and PostgreSQL whole after that."""
    post(own, user, "before", "its own")
    eventually(lambda: watches(own))
    watched = time.monotonic()
    eventually(
        lambda: (
            own.failover.lease.current().postgres_complete
            and own.failover.lease.complete_at > watched
        )
    )


def watches(own: Services) -> bool:
    """Whether a process looks at Redis by itself, and found it well."""
    return own.failover.writes.keys.watch.well_since <= time.monotonic()


@pytest.mark.parametrize("fault", ["refuse", "blackhole"])
def test_a_key_that_only_redis_knew_is_told_to_clickhouse_when_both_are_out(
    alone: Services, user: str, network: Network, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However late a busy machine lets the first process do so.
    for wait_seconds in ("OTHERS_SECONDS", "POSTGRES_KEYS_SECONDS"):
        monkeypatch.setattr(f"storage.messages.clickhouse_writes.{wait_seconds}", 3.0)
    first = behind(network, alone, "database")
    done = post(first, user, "a", "k")
    assert done.tier_used == "redis"
    eventually(lambda: watches(first))
    # Nobody asks the first process for anything from here on.
    getattr(network.redis, fault)()
    other = behind(network, alone, "database")
    again = post(other, user, "a", "k")
    assert (again.message, again.repeated) == (done.message, True)
    with pytest.raises(KeyReused):
        post(other, user, "b", "k")


def test_whoever_acknowledged_a_message_knows_its_text_while_it_is_out_of_reach(
    alone: Services, user: str, network: Network
) -> None:
    own = behind(network, alone, "clickhouse")
    done = post(own, user, "a", "k")
    network.redis.refuse()
    with pytest.raises(KeyReused):
        post(own, user, "b", "k")
    again = post(own, user, "a", "k")
    assert (again.message, again.repeated) == (done.message, True)


def test_nothing_is_said_of_a_text_that_nobody_within_reach_knows(
    alone: Services, user: str
) -> None:
    post(alone, user, "a", "k")
    key, made = (
        appends.Key(user, "t", "k"),
        alone.failover.retrieval.page(user, "t", limit=1, cursor=None, order="asc").messages[0],
    )
    # As a process of an older version tells it.
    with alone.tiers.job_engine.begin() as connection:
        idempotency.tell(connection, {key: appends.Made(made.id, "", "")})
    other = without(alone, "redis")
    for text_of_it in ("a", "b"):
        with pytest.raises(TierUnavailable):
            post(other, user, text_of_it, "k")


def test_a_key_that_postgresql_took_beside_redis_is_told_to_clickhouse(
    alone: Services, user: str
) -> None:
    done = post(without(alone, "redis"), user, "a", "k")
    assert done.tier_used == "postgresql"
    again = post(without(alone, "redis", "database"), user, "a", "k")
    assert (again.message, again.repeated) == (done.message, True)


def test_a_key_that_clickhouse_took_is_honoured_by_redis_before_postgresql_is_back(
    alone: Services, user: str
) -> None:
    done = post(without(alone, "redis", "database"), user, "a", "k")
    assert done.tier_used == "clickhouse"
    again = post(without(alone, "database"), user, "a", "k")
    assert (again.message, again.repeated) == (done.message, True)


def test_a_process_that_saw_redis_out_asks_clickhouse_although_it_held_a_lease(
    alone: Services, user: str, network: Network
) -> None:
    alone.failover.handoff.replay()
    other = behind(network, alone)
    eventually(lambda: other.failover.lease.current().postgres_complete)
    post(other, user, "before", "its own")
    network.postgres.refuse()
    eventually(lambda: not other.failover.lease.current().is_known)
    network.redis.refuse()
    eventually(lambda: not other.tiers.breakers.redis.is_closed)
    done = post(without(alone, "redis", "database"), user, "a", "k")
    network.redis.pass_through()
    eventually(lambda: other.tiers.breakers.redis.is_closed)
    assert not other.tiers.breakers.postgresql.is_closed
    again = post(other, user, "a", "k")
    assert (again.message, again.repeated) == (done.message, True)


def test_while_postgresql_alone_is_out_redis_does_not_depend_on_clickhouse(
    alone: Services, user: str, network: Network
) -> None:
    alone.failover.handoff.replay()
    own = behind(network, alone)
    finds_all_well(own, user)
    network.postgres.refuse()
    eventually(lambda: not own.failover.lease.current().is_known)
    network.clickhouse.refuse()
    assert post(own, user, "a", "k").tier_used == "redis"
    assert own.tiers.breakers.clickhouse.is_closed


@pytest.mark.parametrize("out", [("redis",), ()])
def test_a_key_that_clickhouse_took_is_honoured_by_all_before_it_is_home(
    alone: Services, user: str, out: tuple[str, ...]
) -> None:
    done = post(without(alone, "redis", "database"), user, "a", "k")
    own = without(alone, *out)
    # PostgreSQL answers, and is known to lack something.
    eventually(lambda: own.failover.lease.current() == Completeness())
    again = post(own, user, "a", "k")
    assert (again.message, again.repeated) == (done.message, True)


def test_a_key_of_a_tier_that_has_just_come_back_is_told_before_it_is_acknowledged(
    alone: Services, user: str, network: Network
) -> None:
    first = behind(network, alone, "database")
    post(first, user, "before", "its own")
    eventually(lambda: watches(first))
    network.redis.refuse()
    eventually(lambda: not first.tiers.breakers.redis.is_closed)
    network.redis.pass_through()
    eventually(lambda: first.tiers.breakers.redis.is_closed)
    done = post(first, user, "a", "k")
    assert done.tier_used == "redis"
    # To this process both are out still, and have been for so long that it waits for nobody.
    other = without(alone, "redis", "database")
    for breaker in (other.tiers.breakers.redis, other.tiers.breakers.postgresql):
        breaker.open("gone")
        breaker.opened_at = float("-inf")
    again = post(other, user, "a", "k")
    assert (again.message, again.repeated) == (done.message, True)
