"""Processes for which tiers are out, and what became of what they wrote."""

from threading import Event
from typing import Any

import msgspec
from sqlalchemy import text

from models.message import Message
from storage.messages.posts import Draft
from support.stack.clickhouse_requests import clickhouse_post
from wiring.process import Services

_RUNNING: list[Services] = []
NOWHERE = {
    "redis_url": "redis://127.0.0.1:1/0",
    "database_url": "postgresql+psycopg2://u@127.0.0.1:1/d",
    "clickhouse_url": "clickhouse+http://default:@127.0.0.1:1/d",
}


def without(alone: Services, *tiers: str) -> Services:
    """Another process, for which these tiers are out."""
    gone = {name: url for name, url in NOWHERE.items() if name.split("_")[0] in tiers}
    return process(alone, **gone)


def process(alone: Services, **changes: Any) -> Services:
    """Another process, with some settings of its own; it ends with `end_all`."""
    return ends(Services(msgspec.structs.replace(alone.settings, **changes)))


def ends(own: Services) -> Services:
    """The same; it ends with `end_all`."""
    _RUNNING.append(own)
    return own


def end_all() -> None:
    """Ends what such processes do by themselves: a tier that is out would be probed for ever."""
    while _RUNNING:
        own = _RUNNING.pop()
        for breaker in (
            own.tiers.breakers.redis,
            own.tiers.breakers.postgresql,
            own.tiers.breakers.clickhouse,
        ):
            # The breaker stays open, so that nobody tries the tier again.
            breaker._probe = Event().wait
        own.failover.writes.keys.watch._is_wanted = _is_not_wanted
        own.tiers.give_back()


def _is_not_wanted() -> bool:
    return False


def end_bypasses(alone: Services) -> None:
    """As if everybody who wrote beside Redis had found it again a while ago."""
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(text("DELETE FROM redis_detours"))
    clickhouse_post(alone.tiers.job_clickhouse, "TRUNCATE TABLE direct_writers")


def believe_keys(alone: Services) -> None:
    """As if Redis had seen every Idempotency-Key that still counts."""
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(text("UPDATE redis_state SET keys_whole_from = clock_timestamp()"))


def believe_redis(alone: Services) -> None:
    """As if Redis had everything, and had never evicted anything, whatever other tests did."""
    alone.tiers.redis_client.config_resetstat()
    end_bypasses(alone)
    alone.failover.redis_recovery.reconcile()
    believe_keys(alone)


def post(own: Services, user: str, content: str = "hello", key: str | None = None) -> Any:
    """Posts a message to the user's thread `t`."""
    return own.messages.post(user, "t", Draft("user", content, {}, key))


def rows(alone: Services, user: str) -> list[tuple[str, int, str]]:
    """Id, version and content of everything a user has in PostgreSQL that is not deleted."""
    query = text(
        "SELECT id::text, version, content FROM messages"
        " WHERE user_id = :user AND deleted_at IS NULL ORDER BY id"
    )
    with alone.tiers.job_engine.connect() as connection:
        return [tuple(row) for row in connection.execute(query, {"user": user})]


def listed(own: Services, user: str) -> list[str]:
    """The contents of what a user's thread shows, oldest first."""
    return [one.content for one in page(own, user)]


def page(own: Services, user: str) -> list[Message]:
    """What a user's thread shows, oldest first."""
    return own.failover.retrieval.page(user, "t", limit=50, cursor=None, order="asc").messages
