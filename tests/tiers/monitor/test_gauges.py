"""How things stand, as figures: per cent are per cent, and a tier that is busy is not out."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from jobs.monitor.alerts.rules import CONSISTENCY_PERCENT
from jobs.monitor.exposition import exposition
from jobs.monitor.figures import StoreFigures, figures
from jobs.monitor.health import persistence_health
from models.search import parse
from storage.analytics.cache import MOST_KEPT, FiguresCache, Kept
from storage.analytics.figures import Counted
from storage.analytics.hidden import MOST_MARKS, Mark
from storage.availability.checks.safety import SafetyVerdict
from storage.search.query import Wanted
from support.calls.alerts import Judged
from support.data.figures import Scraped, parsed
from support.faults.outages import post, process, without
from wiring.process import Services

HIGHEST = "ffffffff-ffff-7fff-bfff-ffffffffffff"


def shown(own: Services) -> Scraped:
    """What Prometheus is told of the moment."""
    return parsed(exposition(own.tiers.instruments, "", figures_now(own)).decode())


def figures_now(own: Services) -> StoreFigures:
    """The figures of this moment."""
    return figures(own.performance.snapshots.take(), own.performance.monitor.firing())


@contextmanager
def locked(own: Services, table: str) -> Iterator[None]:
    """Nobody can read a table meanwhile."""
    with own.tiers.job_engine.begin() as connection:
        connection.execute(text(f"LOCK TABLE {table}"))
        yield


def test_the_score_is_in_per_cent_as_rules_take_it(alone: Services) -> None:
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO consistency_reports (state, actor, scope, repair, finished_at, score)"
                " VALUES ('done', 'test', '{}', false, clock_timestamp(), 99.5)"
            )
        )
    try:
        assert shown(alone).of("data_consistency_score") == 99.5 < CONSISTENCY_PERCENT
    finally:
        with alone.tiers.job_engine.begin() as connection:
            connection.execute(text("DELETE FROM consistency_reports"))


def test_a_tier_that_is_too_busy_for_a_figure_is_not_out(alone: Services) -> None:
    with locked(alone, "dead_letters"):
        found = figures_now(alone)
    assert found.tiers["postgresql"].is_up
    assert found.dead_letters is None
    assert figures_now(alone).dead_letters is not None


def test_a_tier_that_turns_one_question_away_is_not_out(alone: Services) -> None:
    own = process(alone, redis_connections=1)
    pool = own.tiers.redis_client.connection_pool
    held = pool.get_connection()
    try:
        seen = own.performance.snapshots.take()
    finally:
        pool.release(held)
    assert seen.tiers["redis"].available
    assert seen.tiers["redis"].reason
    assert seen.pending is None
    health = persistence_health(seen, SafetyVerdict([]))
    assert (health.status, health.tiers["redis"].available) == ("degraded", False)
    assert own.performance.snapshots.take().pending is not None


def test_an_alert_is_not_over_because_a_tier_was_too_busy_to_tell(alone: Services) -> None:
    judged = Judged(alone)
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO dead_letters (shard, entry_id, kind, record, reason)"
                " VALUES (0, '1-1', 'message', '', 'because')"
            )
        )
    try:
        assert "dead_letters" in judged.by(alone, 2)
        assert shown(alone).of("alerts_active", type="dead_letters", priority="P1") == 1
        assert shown(alone).of("alerts_active", type="redis_memory") == 0
        with locked(alone, "archive_units"):
            assert "dead_letters" in judged.by(alone, 3)
    finally:
        with alone.tiers.job_engine.begin() as connection:
            connection.execute(text("DELETE FROM dead_letters"))
    assert "dead_letters" not in judged.by(alone, 2)
    assert shown(alone).of("alerts_active", type="dead_letters", priority="P1") == 0


def test_ages_in_the_log_are_by_the_clock_that_stamps_it(
    alone: Services, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(alone, user)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3_600)
    assert 0 <= (alone.performance.snapshots.take().oldest_pending_seconds or 0) < 60


def test_searches_are_reads(alone: Services, user: str) -> None:
    before = _reads(alone)
    alone.search.search(user, Wanted(parse("anything")), limit=10, cursor=None)
    assert _reads(alone) == before + 1


def _reads(own: Services) -> float:
    metric = own.tiers.instruments.registry.get_sample_value
    sources = ("redis", "postgresql", "clickhouse", "mixed")
    return sum(metric("threadkeep_read_seconds_count", {"source": one}) or 0 for one in sources)


def test_somebody_with_many_deleted_threads_has_figures(alone: Services, user: str) -> None:
    # So many names are much for a busy machine; what is asked here is whether they are too many.
    archive = process(alone, clickhouse_timeout_seconds=20.0).analytics._archive
    longest = [Mark("u" * 256, f"{number:0128}", HIGHEST) for number in range(MOST_MARKS)]
    strangers = [Mark(f"{number:0256}", "t", HIGHEST) for number in range(MOST_MARKS)]
    for marks in (longest, strangers):
        assert archive.figures(Counted(user), marks)[0].messages == 0


def test_answers_that_are_kept_are_bounded(alone: Services, user: str) -> None:
    cache = FiguresCache(alone.tiers.redis_door, 5.0)
    for number in range(2 * MOST_KEPT + 10):
        cache.keep(user, f"summary {number}", b"{}")
    assert cache.read(user, f"summary {2 * MOST_KEPT + 9}") == Kept(b"{}", is_fresh=True)
    (name,) = alone.tiers.redis_client.keys("analytics:*")
    assert alone.tiers.redis_client.hlen(name) <= MOST_KEPT


def test_what_an_admin_says_meanwhile_reaches_the_audit_trail(alone: Services) -> None:
    """Deeds that were kept for PostgreSQL are noted once, and no other one is lost by it."""
    judged = Judged(alone)
    own = without(alone, "clickhouse", "database")
    raised = judged.by(own)["tier_unavailable:clickhouse"]
    monitor, note = alone.performance.monitor, alone.performance.monitor._note
    own.performance.monitor.acknowledge(raised.id, "ann")

    def noting(deeds: object) -> None:
        note(deeds)  # type: ignore[arg-type]
        if not said.is_set():
            said.set()
            own.performance.monitor.silence(raised.id, 60.0, "bob")

    said = threading.Event()
    monitor._note = noting  # type: ignore[method-assign,assignment]
    try:
        judged.by(alone, 35)
    finally:
        monitor._note = note  # type: ignore[method-assign]
    noted = [
        one.actor for one in alone.jobs.audit.entries(limit=50) if raised.id in str(one.subject)
    ]
    assert sorted(noted) == ["ann", "bob"]
