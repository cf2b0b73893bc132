"""Each type of alert, raised by breaking what it tells of; told and kept whichever tier is out."""

from contextlib import suppress

import pytest
from sqlalchemy import text

from storage.errors import NotFound, TierError
from support.calls.alerts import Judged
from support.faults.outages import post, process, without
from support.waiting import eventually
from wiring.process import Services


@pytest.fixture
def judged(alone: Services) -> Judged:
    with alone.tiers.job_engine.begin() as connection:
        for table in ("dead_letters", "consistency_reports", "clickhouse_outbox", "alerts"):
            connection.execute(text(f"DELETE FROM {table}"))
    return Judged(alone)


def begun(own: Services) -> Services:
    """A process that counts from here on."""
    own.performance._counting.count(0.0)
    return own


def test_nothing_stands_where_all_is_well(alone: Services, judged: Judged, user: str) -> None:
    begun(alone)
    for _ in range(12):
        post(alone, user)
    assert judged.by(alone, 3) == {}


@pytest.mark.parametrize("tier", ["redis", "postgresql", "clickhouse"])
def test_a_tier_that_is_out_is_told_at_once(alone: Services, judged: Judged, tier: str) -> None:
    names = {"postgresql": "database"}
    own = without(alone, names.get(tier, tier))
    found = judged.by(own)[f"tier_unavailable:{tier}"]
    assert found.priority == ("P1" if tier == "clickhouse" else "P0")
    # Whoever reaches it says that it is over.
    assert f"tier_unavailable:{tier}" not in judged.by(alone, 2)


def test_what_is_wrong_has_every_window_judged(alone: Services, judged: Judged) -> None:
    out, well = without(alone, "clickhouse"), process(alone)
    assert judged.by(out)
    assert not out.performance.monitor._saw_nothing
    alone.jobs.persistence.drain_backlog()
    assert judged.by(well, 3) == {}
    assert well.performance.monitor._saw_nothing


def test_writes_beside_redis_are_told(alone: Services, judged: Judged, user: str) -> None:
    own = begun(without(alone, "redis"))
    for _ in range(3):
        post(own, user)
        assert judged.by(own)["tier_unavailable:redis"]
    found = judged.by(own)["failover_frequency"]
    assert found.figures["failover_percent"] == 100


def test_writes_that_nobody_takes_are_told_and_by_whom_they_were_asked(
    alone: Services, judged: Judged, user: str
) -> None:
    own = begun(without(alone, "redis", "database", "clickhouse"))
    for _ in range(3):
        with suppress(TierError):
            post(own, user)
        found = judged.by(own)
    assert found["persistence_success_rate"].figures["success_rate_percent"] == 0
    assert {"tier_unavailable:redis", "tier_unavailable:clickhouse"} <= found.keys()


def test_a_log_that_nobody_drains_is_told(alone: Services, judged: Judged, user: str) -> None:
    own = process(alone, alert_backlog_seconds=0.05, no_progress_seconds=0.05)
    post(own, user)
    found = eventually(lambda: _both(judged.by(own), "no_progress", "backlog_age:log"))
    assert found["backlog_age:log"].figures["waiting"] == 1
    alone.jobs.persistence.drain_backlog()
    assert "backlog_age:log" not in judged.by(own, 2)


def test_an_outbox_that_nobody_ships_is_told(alone: Services, judged: Judged, user: str) -> None:
    own = process(alone, alert_backlog_seconds=0.05)
    post(own, user)
    alone.jobs.persistence.drain_backlog()
    eventually(lambda: "backlog_age:outbox" in judged.by(own))
    alone.jobs.replication.ship_all()
    assert "backlog_age:outbox" not in judged.by(own, 2)


def test_a_redis_that_fills_up_is_told(alone: Services, judged: Judged) -> None:
    before = alone.tiers.redis_client.config_get("maxmemory")["maxmemory"]
    used = int(alone.tiers.redis_client.info("memory")["used_memory"])
    alone.tiers.redis_client.config_set("maxmemory", int(used / 0.9))
    try:
        found = judged.by(alone, 2)["redis_memory"]
    finally:
        alone.tiers.redis_client.config_set("maxmemory", before)
    assert 80 < float(found.figures["used_percent"]) <= 100
    assert judged.by(alone, 2) == {}


def test_what_postgresql_keeps_for_a_person_is_told(alone: Services, judged: Judged) -> None:
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO dead_letters (shard, entry_id, kind, record, reason)"
                " VALUES (0, '1-1', 'message', '', 'because')"
            )
        )
        connection.execute(
            text(
                "INSERT INTO consistency_reports (state, actor, scope, repair, finished_at, score)"
                " VALUES ('done', 'test', '{}', false, clock_timestamp(), 99.5)"
            )
        )
    found = judged.by(alone, 2)
    assert found["dead_letters"].figures == {"dead_letters": 1}
    assert found["data_consistency_score"].priority == "P0"
    # Without PostgreSQL nobody knows whether that is over.
    blind = judged.by(without(alone, "database"), 3)
    assert {"dead_letters", "data_consistency_score"} <= blind.keys()


def test_two_processes_without_redis_share_one_standing(alone: Services, judged: Judged) -> None:
    one, two = without(alone, "redis"), without(alone, "redis")
    raised = judged.by(one)["tier_unavailable:redis"]
    assert raised in two.performance.monitor.active()
    assert judged.by(two)["tier_unavailable:redis"].id == raised.id


def test_without_redis_and_postgresql_clickhouse_tells(alone: Services, judged: Judged) -> None:
    one, two = (without(alone, "redis", "database") for _ in range(2))
    raised = judged.by(one)
    found = {one.key: one for one in two.performance.monitor.active()}
    assert found.items() >= raised.items()
    assert raised["tier_unavailable:postgresql"]


def test_what_was_raised_without_postgresql_is_in_the_history_afterwards(
    alone: Services, judged: Judged
) -> None:
    own = without(alone, "database")
    raised = judged.by(own)["tier_unavailable:postgresql"]
    seen = own.performance.monitor.acknowledge(raised.id, "ann")
    assert seen.acknowledged_by == "ann"
    assert alone.performance.monitor.history() == []
    assert judged.by(alone, 2) == {}
    history = alone.performance.monitor.history()
    (past,) = [one for one in history if one.id == raised.id]
    assert past.since == raised.since
    assert past.until is not None
    assert past.acknowledged_by == "ann"
    noted = alone.jobs.audit.entries(action="alert.acknowledged", limit=10)
    assert [one.actor for one in noted if one.subject == f"alert:{raised.id}"] == ["ann"]
    # What is written is not kept for PostgreSQL any longer.
    assert alone.performance.monitor.state(judged.now).records == {}


def test_whoever_acknowledges_first_stays(alone: Services, judged: Judged) -> None:
    raised = judged.by(without(alone, "clickhouse"))["tier_unavailable:clickhouse"]
    monitor = alone.performance.monitor
    seen = [monitor.acknowledge(raised.id, by).acknowledged_by for by in ("ann", "bob")]
    assert seen == ["ann", "ann"]
    with pytest.raises(NotFound):
        monitor.acknowledge("01a1fed8-b71c-7000-909c-d7cbfc85fba6", "ann")
    assert judged.by(alone, 2) == {}
    (past,) = [one for one in monitor.history() if one.id == raised.id]
    assert past.acknowledged_by == "ann"


def _both(found: dict[str, object], *keys: str) -> dict[str, object] | None:
    return found if found.keys() >= set(keys) else None
