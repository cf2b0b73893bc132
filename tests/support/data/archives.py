"""Old messages, an archiver to run over them, and what is where afterwards."""

from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import text

from jobs.archive.run import ArchiveCounts, ArchiveRequest
from jobs.archive.tiering import DAY_SECONDS, TieringRules
from models import codec, ids
from models.message import Message
from storage.postgres import writes
from storage.postgres.partitions import Partitions
from support.data.exporting import messages_of
from support.data.samples import message
from support.patience import wait_for_locks
from support.stack.clickhouse_requests import clickhouse_post
from wiring.process import Services

MONDAY_US = 1_577_664_000_000_000
"""2019-12-30, a Monday."""
DAY_US = 86_400_000_000
PARTITION = "messages_2019_12_30"
RULES = TieringRules(hot_seconds=DAY_SECONDS, archive_after_seconds=30 * DAY_SECONDS)

_RESET = (
    "TRUNCATE messages, clickhouse_outbox, archive_units, archive_slices, threads, redis_backfill",
    f"UPDATE archive_boundary SET below = '{ids.LOWEST}'",
)
_TABLES = text(
    r"SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^messages_\d'"
    " AND relname < :ahead"
)


def fresh(services: Services) -> None:
    """Empties PostgreSQL's and ClickHouse's messages, and forgets every archiver."""
    with services.tiers.migrate_engine.begin() as connection:
        wait_for_locks(connection)
        for statement in _RESET:
            connection.execute(text(statement))
        for table in connection.execute(_TABLES, {"ahead": "messages_2025"}).scalars().all():
            connection.execute(text(f"DROP TABLE {table}"))
    clickhouse_post(services.tiers.job_clickhouse, "TRUNCATE TABLE messages")


def old(user: str, day: float = 0, thread: str = "t", **fields: Any) -> Message:
    """A message of some day after the first Monday of 2020."""
    return message(user, thread, time_us=MONDAY_US + int(day * DAY_US), **fields)


def write(services: Services, versions: Iterable[Message], *, ship: bool = True) -> None:
    """Into partitions of their own in PostgreSQL, and to ClickHouse."""
    batch = list(versions)
    Partitions(services.tiers.job_engine).ensure_for(one.id for one in batch)
    with services.tiers.job_engine.begin() as connection:
        writes.upsert_messages(connection, [codec.encode(one) for one in batch])
    if ship:
        services.jobs.replication.ship_all()


def archive_request(grace: float = 0, rules: TieringRules = RULES, **fields: Any) -> ArchiveRequest:
    """Everything older than thirty days, dropped at once."""
    return ArchiveRequest(rules, grace, "tester", **fields)


def archive(services: Services, **fields: Any) -> ArchiveCounts:
    """One run; gives its counts."""
    *_, last = services.jobs.archive.archive_partitions(archive_request(**fields))
    return last


def exported(services: Services) -> list[bytes]:
    """Everything that there is, as an export gives it."""
    exporter = services.jobs.exporter
    return [codec.encode(one) for one in messages_of(exporter)]


def scalar(services: Services, query: str, **values: Any) -> Any:
    """The answer of PostgreSQL to a question of one value."""
    with services.tiers.job_engine.connect() as connection:
        return connection.execute(text(query), values).scalar_one()


def execute(services: Services, statement: str, **values: Any) -> None:
    """A statement of the owner of PostgreSQL's tables."""
    with services.tiers.migrate_engine.begin() as connection:
        connection.execute(text(statement), values)


def boundary(services: Services) -> str:
    """The archive boundary."""
    return str(scalar(services, "SELECT below::text FROM archive_boundary"))


def unit(services: Services, name: str = PARTITION) -> dict[str, Any]:
    """The latest unit of a partition."""
    query = text("SELECT * FROM archive_units WHERE name = :name ORDER BY id DESC LIMIT 1")
    with services.tiers.job_engine.connect() as connection:
        return dict(connection.execute(query, {"name": name}).one()._mapping)


def in_postgres(services: Services) -> int:
    """How many rows `messages` has."""
    return int(scalar(services, "SELECT count(*) FROM messages"))


def put_in_clickhouse(services: Services, *copies: Message) -> None:
    """Copies as they are, whatever their hashes say."""
    rows = b"\n".join(map(clickhouse_row, copies))
    services.tiers.job_clickhouse.insert("messages", rows, ids.mint(0, 0))


def clickhouse_row(one: Message) -> bytes:
    """A message as ClickHouse takes it."""
    fields = {name: getattr(one, name) for name in Message.__struct_fields__}
    return msgspec.json.encode(fields | {"metadata": codec.canonical_metadata(one.metadata)})


def lose_from_clickhouse(services: Services, *messages: Message) -> None:
    """Takes every version of some messages out of ClickHouse."""
    names = ", ".join(f"'{one.id}'" for one in messages)
    clickhouse_post(
        services.tiers.job_clickhouse,
        f"ALTER TABLE messages DELETE WHERE id IN ({names}) SETTINGS mutations_sync = 2",
    )


def ids_of(page: Iterable[Message]) -> list[str]:
    """Ids in order."""
    return [one.id for one in page]
