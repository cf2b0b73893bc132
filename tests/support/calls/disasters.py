"""What a disaster does to servers, and everything that must be the same after it."""

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET, Raw
from sqlalchemy import Row, text

from jobs.migrate import migrate_all
from models import codec
from models.state import StateName
from storage.messages.posts import Draft
from support.data.exporting import messages_of
from support.patience import wait_for_locks
from support.waiting import eventually
from wiring.process import Services

_ROWS = {
    "messages": (
        "SELECT id::text AS id, user_id, thread_id, role, content, metadata::text, created_at,"
        " updated_at, version, deleted_at, content_hash FROM messages ORDER BY id"
    ),
    "threads": 'SELECT * FROM threads ORDER BY user_id COLLATE "C", id COLLATE "C"',
    "audit_trail": "SELECT * FROM audit_trail WHERE action NOT LIKE 'recovery.%' ORDER BY id",
    "dead_letters": "SELECT * FROM dead_letters ORDER BY id",
    "lost_acknowledgements": "SELECT * FROM lost_acknowledgements ORDER BY message_id",
    "state_records": "SELECT *, state::text FROM state_records ORDER BY kind, user_id, name",
    "checkpoints": "SELECT *, state::text FROM checkpoints ORDER BY user_id, run_id, version",
    "archive_boundary": "SELECT below::text FROM archive_boundary",
    "installation": "SELECT installation::text FROM redis_state",
}


def lose_postgresql(services: Services) -> None:
    """An empty database, as a server has that was started on an empty disk."""
    with services.tiers.migrate_engine.begin() as connection:
        wait_for_locks(connection)
        connection.exec_driver_sql(
            "DROP SCHEMA public CASCADE; CREATE SCHEMA public;"
            " GRANT USAGE ON SCHEMA public TO PUBLIC"
        )


def lose_clickhouse(services: Services) -> None:
    with services.tiers.job_clickhouse.engine.begin() as connection:
        for name in connection.exec_driver_sql("SHOW TABLES").scalars().all():
            connection.exec_driver_sql(f"DROP TABLE `{name}` SYNC")


def lose_redis(services: Services) -> None:
    """Takes everything out of Redis, as those may who may not empty it at once."""
    client = services.tiers.redis_client
    for name in client.scan_iter(count=1_000):
        client.unlink(name)


def lose_everything(services: Services) -> None:
    lose_postgresql(services)
    lose_clickhouse(services)
    lose_redis(services)


def begin_anew(services: Services) -> None:
    """The same servers as if they had never been used."""
    lose_everything(services)
    migrate_all(services.tiers.migrate_engine, services.tiers.job_clickhouse, 1)
    settle(services)
    services.failover.redis_recovery.adopt()


def settle(services: Services) -> None:
    """Waits until this process has seen that every tier is back."""
    breakers = services.tiers.breakers
    for breaker in (breakers.redis, breakers.postgresql, breakers.clickhouse):
        eventually(lambda one=breaker: one.is_closed)  # type: ignore[misc]


def carry_on(services: Services) -> None:
    """What workers do, who wait for a tier that is slow, until there is nothing left to do."""
    settle(services)
    services.jobs.persistence.drain_all(range(services.settings.shards))
    services.jobs.erasure.erase_deleted_threads()
    services.jobs.replication.ship_all()
    services.jobs.row_copies.ship()
    services.jobs.audit_outbox.ship_all()


def exported(services: Services) -> bytes:
    """What `threadkeep export` writes."""
    exporter = services.jobs.exporter
    return b"\n".join(codec.encode(message) for message in messages_of(exporter))


def rows(services: Services) -> dict[str, Sequence[Row[Any]]]:
    """Every row that must come back."""
    with services.tiers.job_engine.connect() as connection:
        return {name: connection.execute(text(query)).all() for name, query in _ROWS.items()}


def live_a_little(services: Services, *users: str) -> None:
    """Gives each of these users threads of the same names, in every state that there is."""
    for user in users:
        _titled(services, user)
        _edited(services, user)
        _deleted(services, user)
        _reopened(services, user)
        _running(services, user)
    carry_on(services)


def post(services: Services, user: str, thread: str, *texts: str) -> list[str]:
    """Posts messages; gives their ids."""
    return [
        services.messages.post(user, thread, Draft("user", text, {"of": thread}, None)).message.id
        for text in texts
    ]


def _running(services: Services, user: str) -> None:
    services.states.put(StateName("session", user, ""), Raw(b'{"theme":"dark","n":1.10}'))
    for number in range(12):
        run = StateName("run", user, "run")
        services.states.put(run, Raw(b'{"step":%d}' % number), ttl_seconds=3600)
    services.states.delete(StateName("session", user, ""))
    services.states.put(StateName("session", user, ""), Raw(b'{"theme":"light"}'))


def _titled(services: Services, user: str) -> None:
    services.threads.create(user, "titled", "a title", {"colour": "blue", "n": 1.50})
    post(services, user, "titled", *(f"message {n}" for n in range(40)))
    services.jobs.persistence.drain_all(range(services.settings.shards))
    services.threads.change(user, "titled", title="a better title", metadata={"colour": "red"})
    services.threads.change(
        user, "titled", title=UNSET, metadata=UNSET, is_pinned=True, is_archived=True
    )


def _edited(services: Services, user: str) -> None:
    names = post(services, user, "edited", "one", "two", "three", "line\nfeed \u2028 'quoted' \\")
    services.jobs.persistence.drain_all(range(services.settings.shards))
    services.messages.edit(user, names[0], content="one, edited", metadata=None, if_version=None)
    services.messages.delete(user, names[1], if_version=None)
    services.jobs.persistence.drain_all(range(services.settings.shards))
    # The last message of a thread is a tombstone.
    services.messages.delete(user, names[3], if_version=None)


def _deleted(services: Services, user: str) -> None:
    services.threads.create(user, "deleted", "gone", {})
    post(services, user, "deleted", "gone", "gone too")
    services.jobs.persistence.drain_all(range(services.settings.shards))
    services.threads.delete(user, "deleted")


def _reopened(services: Services, user: str) -> None:
    post(services, user, "reopened", "before")
    services.jobs.persistence.drain_all(range(services.settings.shards))
    services.threads.delete(user, "reopened")
    services.jobs.persistence.drain_all(range(services.settings.shards))
    post(services, user, "reopened", "after")
