"""Slow statements of every tier are counted and logged, by their shape alone."""

from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

import pytest
import structlog
from sqlalchemy import text
from structlog.testing import capture_logs

from storage.errors import TierError
from storage.postgres.driver import translated
from storage.resilience import simulated_outage
from storage.telemetry.slow_queries import shape_of
from support.faults.outages import post, process
from wiring.process import Services

SECRET = "somebody wrote this"


@pytest.fixture
def own(alone: Services) -> Services:
    return process(alone, slow_query_seconds=0.04)


@pytest.fixture(autouse=True)
def nothing_is_slow_afterwards() -> Iterator[None]:
    yield
    simulated_outage.begin(frozenset(), {}, 0)


def sleeps(logs: Sequence[MutableMapping[str, Any]]) -> list[str]:
    """What was told as slow, but for what a busy machine made so."""
    shapes = [one["shape"] for one in logs if one["event"] == "slow_query"]
    return [shape for shape in shapes if "sleep" in shape]


def test_postgresql(own: Services) -> None:
    slow = text("SELECT pg_sleep(0.05), CAST(:content AS text), 'written'")
    with capture_logs() as logs, own.tiers.request_engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        connection.execute(slow, {"content": SECRET})
    slept = [one for one in logs if one["event"] == "slow_query" and "sleep" in one["shape"]]
    (told,) = slept
    assert told["tier"] == "postgresql"
    assert told["shape"] == "SELECT pg_sleep(?), CAST(%(content)s AS text), ?"
    assert told["ms"] >= 50
    assert own.tiers.slow_queries.counts["postgresql"] >= 1


def test_one_that_failed_counts_too(own: Services) -> None:
    asking = own.tiers.request_engine.connect()
    with capture_logs() as logs, pytest.raises(TierError), translated(), asking as connection:
        connection.execute(text("SET LOCAL statement_timeout = 60"))
        connection.execute(text("SELECT pg_sleep(5)"))
    assert sleeps(logs) == ["SELECT pg_sleep(?)"]


def test_clickhouse(own: Services) -> None:
    server = own.tiers.clickhouse_within(2.0)
    with capture_logs() as logs:
        with server.engine.connect() as connection:
            connection.execute(text("SELECT sleep(0.05), 'written'"))
        server.lines("SELECT sleep(0.05) AS slept")
    first, second = sleeps(logs)
    assert first.startswith("SELECT sleep(?), ?")
    assert second.startswith("SELECT sleep(?)")
    assert own.tiers.slow_queries.counts["clickhouse"] >= 2


def test_a_script_of_redis(own: Services, user: str) -> None:
    simulated_outage.begin(frozenset(), {"redis": 0.05}, 30)
    with capture_logs() as logs, structlog.contextvars.bound_contextvars(request_id="r1"):
        post(own, user, SECRET)
    told = [one for one in logs if one["event"] == "slow_query"]
    assert ("redis", "script append") in {(one["tier"], one["shape"]) for one in told}
    assert SECRET not in str(logs)


def test_figures_of_each_tier_are_those_of_its_calls(own: Services, user: str) -> None:
    post(own, user)
    simulated_outage.begin(frozenset(), {"redis": 0.05}, 30)
    own.tiers.redis.ping()
    simulated_outage.begin(frozenset(), {}, 0)
    told = own.tiers.breakers.redis.latencies.totals("redis")
    assert told["redis:calls"] >= 2
    assert told["redis:seconds"] >= 0.05


@pytest.mark.parametrize(
    ("statement", "shape"),
    [
        (
            "SELECT *\n  FROM t WHERE id = 'a''b' AND n = 12.5",
            "SELECT * FROM t WHERE id = ? AND n = ?",
        ),
        ("SELECT unhex('6869') FROM t1", "SELECT unhex(?) FROM t1"),
        ("SELECT 'it\\'s' AS x", "SELECT ? AS x"),
    ],
)
def test_a_shape_has_no_value(statement: str, shape: str) -> None:
    assert shape_of(statement) == shape
