"""Copies that would stay for ever get a lifetime, what is pending does not; and what needs a
person is said once."""

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from jobs.monitor.upkeep import CopyLifetimes
from jobs.persist.drain import Drained
from storage.availability.checks.clickhouse import check_clickhouse
from storage.availability.checks.finding import found
from storage.availability.checks.redis import check_redis
from storage.messages.posts import Draft
from storage.redis import keys
from support.data.samples import append_of, message, revised
from wiring.process import Services


def test_a_committed_copy_without_a_lifetime_gets_one(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    posted = alone.messages.post(user, "t", Draft("user", "hello", {})).message
    drain()
    slot = alone.tiers.redis.slot_of_message(posted.id)
    for name in (keys.message(slot, posted.id), keys.index(slot, user, "t")):
        alone.tiers.redis_client.persist(name)
    assert not alone.tiers.redis.is_evictable(posted.id)
    assert alone.jobs.upkeep.restore_lifetimes() == CopyLifetimes(copies=1, for_ever=1, mended=1)
    assert alone.tiers.redis.is_evictable(posted.id)
    assert alone.tiers.redis_client.ttl(keys.index(slot, user, "t")) > 0
    assert alone.jobs.upkeep.restore_lifetimes() == CopyLifetimes(copies=1)


def test_what_is_pending_keeps_none(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    first = message(user)
    alone.tiers.redis.append([append_of(first)], 60)
    drain()
    alone.tiers.redis.revise(revised(first), expected_version=1)
    new = message(user)
    alone.tiers.redis.append([append_of(new)], 60)
    assert alone.jobs.upkeep.restore_lifetimes() == CopyLifetimes(copies=2, for_ever=2, mended=0)
    assert not alone.tiers.redis.is_evictable(first.id)
    assert not alone.tiers.redis.is_evictable(new.id)


def test_what_needs_a_person_is_said_once_and_when_it_is_over(alone: Services) -> None:
    bad = found("redis", "thing", False, "broken", "mend it")
    well = found("redis", "thing", True, "whole", "")
    with capture_logs() as logged:
        assert alone.jobs.upkeep.report([well]) == []
        assert alone.jobs.upkeep.report([bad]) == [bad]
        assert alone.jobs.upkeep.report([bad]) == [bad]
        assert alone.jobs.upkeep.report([well]) == []
    assert [entry["event"] for entry in logged] == ["needs_attention", "well_again"]


def test_four_fifths_of_redis_are_a_finding(alone: Services) -> None:
    client = alone.tiers.redis_client
    before = client.config_get("maxmemory")["maxmemory"]

    def problems() -> list[str]:
        found = check_redis(client, alone.tiers.pending_log)
        return [one.check for one in found if not one.ok]

    used = int(client.info("memory")["used_memory"])
    try:
        client.config_set("maxmemory", int(used / 0.75))
        assert "maxmemory" not in problems()
        client.config_set("maxmemory", int(used / 0.85))
        assert "maxmemory" in problems()
    finally:
        client.config_set("maxmemory", before)


def test_many_parts_are_a_finding(alone: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    def parts() -> bool:
        (found,) = (
            one for one in check_clickhouse(alone.tiers.job_clickhouse) if one.check == "parts"
        )
        return found.ok

    assert parts()
    monkeypatch.setattr("storage.availability.checks.clickhouse.MOST_PARTS", 0)
    assert not parts()
