"""What is judged safe, weaker or to be refused, on servers that really are set that way."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from embedded.ports import free_port
from jobs.migrate import migrate_all
from settings import SettingsError
from storage.availability.checks import safety
from storage.clickhouse import schema as clickhouse_schema
from storage.errors import Refused, TierRejected
from storage.postgres import schema
from storage.redis import keys
from support.stack.clickhouse_requests import clickhouse_post
from support.stack.databases import empty_database
from support.stack.own_valkey import own_valkey
from wiring.process import Services

NOWHERE = {
    "redis_url": "redis://127.0.0.1:1/0",
    "database_url": "postgresql+psycopg2://nobody:x@127.0.0.1:1/none",
    "clickhouse_url": "clickhouse+http://default:@127.0.0.1:1/none",
}


@contextmanager
def given(services: Services, **changes: Any) -> Iterator[Services]:
    """The same servers but for some settings."""
    if "database_url" in changes:
        changes["database_migrate_url"] = changes["database_url"]
    own = Services(msgspec.structs.replace(services.settings, **changes))
    try:
        yield own
    finally:
        own.tiers.give_back()


@contextmanager
def redis_set(services: Services, name: str, value: str) -> Iterator[None]:
    """The data Redis with another setting for a while."""
    client = services.tiers.redis_client
    before = client.config_get(name)
    client.config_set(name, value)
    try:
        yield
    finally:
        client.config_set(name, next(iter(before.values())))


def refusals(services: Services) -> list[tuple[str, str]]:
    return [(one.tier, one.check) for one in safety.judge_apart(services.settings).refusals]


def weaker(services: Services) -> list[tuple[str, str]]:
    return [(one.tier, one.check) for one in safety.judge_apart(services.settings).weaker]


def test_the_embedded_servers_keep_every_promise(alone: Services) -> None:
    verdict = safety.judge_apart(alone.settings)
    assert [finding for finding in verdict.findings if not finding.ok] == []
    assert {finding.tier for finding in verdict.findings} == {"settings", *safety.TIERS}
    assert verdict.reason == safety.judge_redis(alone.tiers.redis_client) == ""


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_a_policy_that_may_evict_anything_refuses(alone: Services, policy: str) -> None:
    with redis_set(alone, "maxmemory-policy", policy):
        assert refusals(alone) == [("redis", "maxmemory-policy")]
        assert "CONFIG SET maxmemory-policy" in safety.judge_redis(alone.tiers.redis_client)
        with pytest.raises(Refused, match=policy):
            safety.check(alone.settings)
    assert refusals(alone) == []


def test_such_a_policy_is_seen_without_the_right_to_ask_for_settings(
    alone: Services, tmp_path: Path
) -> None:
    with own_valkey(tmp_path, maxmemory_policy="allkeys-lru") as valkey:
        url = _app_user(valkey.client(), valkey.url, "-config")
        with given(alone, redis_url=url) as own:
            assert refusals(own) == [("redis", "maxmemory-policy")]


def test_the_policies_that_spare_the_log_are_safe(alone: Services) -> None:
    for policy in ("noeviction", "volatile-lru", "volatile-lfu", "volatile-ttl"):
        with redis_set(alone, "maxmemory-policy", policy):
            assert refusals(alone) == weaker(alone) == []


def test_a_replica_refuses(alone: Services, tmp_path: Path) -> None:
    for number, read_only in enumerate(("yes", "no")):
        folder = tmp_path / str(number)
        folder.mkdir()
        options = {"replicaof": "127.0.0.1 1", "replica_read_only": read_only}
        with (
            own_valkey(folder, **options) as valkey,
            given(alone, redis_url=valkey.url) as own,
        ):
            assert refusals(own) == [("redis", "role")]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("appendonly", "no"),
        ("appendfsync", "everysec"),
        ("appendfsync", "no"),
        ("no-appendfsync-on-rewrite", "yes"),
        ("maxmemory", "0"),
    ],
)
def test_a_redis_that_may_forget_is_weaker_and_runs(
    alone: Services, setting: str, value: str
) -> None:
    with redis_set(alone, setting, value):
        assert weaker(alone) == [("redis", setting)]
        assert refusals(alone) == []
        assert safety.check(alone.settings).weaker[0].promise


def test_a_redis_that_does_not_show_its_settings_is_weaker_and_runs(
    alone: Services, tmp_path: Path
) -> None:
    with own_valkey(tmp_path) as valkey:
        url = _app_user(valkey.client(), valkey.url, "-config")
        with given(alone, redis_url=url) as own:
            assert weaker(own) == [("redis", "settings")]
            assert refusals(own) == []


@pytest.mark.parametrize("denied", ["-info", "-time"])
def test_a_redis_that_hides_figures_runs_with_advice(
    alone: Services, tmp_path: Path, denied: str
) -> None:
    with own_valkey(tmp_path) as valkey:
        url = _app_user(valkey.client(), valkey.url, denied)
        with given(alone, redis_url=url) as own:
            problems = [one for one in safety.judge_apart(own.settings).findings if not one.ok]
            assert [(one.check, one.severity) for one in problems] == [("facts", "advice")]


def test_an_empty_schema_refuses_until_it_is_migrated(alone: Services) -> None:
    alone.tiers.redis_client.delete(keys.INSTALLATION)
    with (
        empty_database(alone.settings.database_url) as url,
        given(alone, database_url=url) as own,
    ):
        assert refusals(own) == [("postgresql", "schema")]
        assert "run `threadkeep migrate`" in safety.judge_apart(own.settings).reason
        migrate_all(own.tiers.migrate_engine, own.tiers.job_clickhouse, 1)
        assert refusals(own) == []


def test_an_empty_clickhouse_refuses_until_it_is_migrated(alone: Services) -> None:
    clickhouse_post(alone.tiers.job_clickhouse, "CREATE DATABASE empty")
    url = alone.settings.clickhouse_url.rsplit("/", 1)[0] + "/empty"
    try:
        with given(alone, clickhouse_url=url) as own:
            assert refusals(own) == [("clickhouse", "schema")]
            assert "run `threadkeep migrate`" in safety.judge_apart(own.settings).reason
            migrate_all(own.tiers.migrate_engine, own.tiers.job_clickhouse, 1)
            assert refusals(own) == []
    finally:
        clickhouse_post(alone.tiers.job_clickhouse, "DROP DATABASE empty")


def test_a_newer_schema_refuses_and_is_not_migrated(alone: Services) -> None:
    alone.tiers.redis_client.delete(keys.INSTALLATION)
    with (
        empty_database(alone.settings.database_url) as url,
        given(alone, database_url=url) as own,
    ):
        schema.migrate_postgres(own.tiers.job_engine)
        with own.tiers.job_engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        (refusal,) = safety.judge_apart(own.settings).refusals
        assert "newer than this code: 9999" in refusal.found
        with pytest.raises(Refused, match="9999"):
            schema.migrate_postgres(own.tiers.job_engine)


def test_a_newer_clickhouse_refuses_and_is_not_migrated(alone: Services) -> None:
    server = alone.tiers.job_clickhouse
    clickhouse_post(server, "INSERT INTO schema_migrations (name) SELECT '9999_later'")
    try:
        (refusal,) = safety.judge_apart(alone.settings).refusals
        assert "9999_later" in refusal.found
        with pytest.raises(Refused, match="9999_later"):
            clickhouse_schema.migrate_clickhouse(server)
    finally:
        clickhouse_post(server, "ALTER TABLE schema_migrations DELETE WHERE name = '9999_later'")
    assert refusals(alone) == []


def test_a_postgres_that_answers_before_the_disk_is_weaker_and_runs(alone: Services) -> None:
    alone.tiers.redis_client.delete(keys.INSTALLATION)
    with (
        empty_database(alone.settings.database_url, synchronous_commit="off") as url,
        given(alone, database_url=url) as own,
    ):
        schema.migrate_postgres(own.tiers.job_engine)
        assert weaker(own) == [("postgresql", "synchronous_commit")]
        assert refusals(own) == []


def test_a_redis_of_another_installation_refuses(alone: Services) -> None:
    with (
        empty_database(alone.settings.database_url) as url,
        given(alone, database_url=url) as own,
    ):
        schema.migrate_postgres(own.tiers.job_engine)
        assert refusals(own) == [("redis", "installation")]
        with pytest.raises(TierRejected, match="another installation"):
            own.failover.redis_recovery.adopt()
        assert alone.failover.redis_recovery.adopt() is False


def test_a_clickhouse_that_answers_before_the_disk_is_weaker_and_runs(alone: Services) -> None:
    server = alone.tiers.job_clickhouse
    clickhouse_post(server, "ALTER TABLE messages MODIFY SETTING fsync_after_insert = 0")
    try:
        assert weaker(alone) == [("clickhouse", "fsync_after_insert")]
    finally:
        clickhouse_post(server, "ALTER TABLE messages MODIFY SETTING fsync_after_insert = 1")
    assert weaker(alone) == []


def test_a_sample_secret_refuses_whatever_the_servers_are(alone: Services) -> None:
    secret = "changeme-changeme-changeme-changeme"
    with given(alone, jwt_secret=secret, **NOWHERE) as own:
        (refusal,) = safety.judge_apart(own.settings).refusals
        assert refusal.check == "secret"
        assert secret not in refusal.line


def test_tiers_that_are_down_refuse_nothing(alone: Services) -> None:
    with given(alone, **NOWHERE) as own:
        verdict = safety.check(own.settings)
        assert [finding.tier for finding in verdict.silent] == list(safety.TIERS)
        assert verdict.weaker == []
        assert safety.judge_redis(own.tiers.redis_client) == ""


def test_a_tier_is_judged_when_it_comes_back(alone: Services, tmp_path: Path) -> None:
    port = free_port()
    with given(alone, redis_url=f"redis://127.0.0.1:{port}/0") as own:
        assert [one.tier for one in safety.check(own.settings).silent] == ["redis"]
        with own_valkey(tmp_path, port, maxmemory_policy="allkeys-lru"):
            assert "allkeys-lru" in safety.judge_redis(own.tiers.redis_client)


def _app_user(client: Any, url: str, denied: str) -> str:
    rights = ["reset", "on", ">word", "~*", "&*", "+@all", denied]
    client.execute_command("ACL", "SETUSER", "app", *rights)
    return url.replace("redis://", "redis://app:word@")


def test_a_misspelt_fault_point_is_found_before_anything_is_asked(alone: Services) -> None:
    wrong = msgspec.structs.replace(alone.settings, faultpoints="no such point", drills=True)
    with pytest.raises(SettingsError):
        safety.check(wrong)
