"""The doctor's checks of PostgreSQL."""

from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, text

from storage import schema_version
from storage.availability.checks.finding import (
    COMMITTED,
    Finding,
    ahead_seconds,
    clock,
    found,
    guarded,
)
from storage.postgres import schema
from storage.postgres.driver import translated
from storage.postgres.partitions import WEEK, monday_of, name
from storage.postgres.retention_status import last_run

POSTGRES = "postgresql"
OLDEST_MAJOR = 15
OUTBOX_AGE_SECONDS = 60.0
ERASURE_AGE_SECONDS = 3600.0
_UNREACHABLE = "start it, or correct DATABASE_URL"

_SETTINGS = text(
    "SELECT current_setting('server_version') AS version,"
    " current_setting('server_version_num')::int AS number,"
    " current_setting('synchronous_commit') AS synchronous_commit,"
    " current_setting('fsync') AS fsync,"
    " current_setting('full_page_writes') AS full_page_writes"
)
_ROLE = text(
    "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'threadkeep_web'"
    " AND pg_has_role(current_user, oid, 'SET'))"
)
_NOW = text("SELECT clock_timestamp()")
_EXISTS = text("SELECT to_regclass(:name) IS NOT NULL")
_DEAD_LETTERS = text(
    "SELECT count(*) AS letters,"
    " coalesce(extract(epoch FROM clock_timestamp() - min(refused_at)), 0) AS age"
    " FROM dead_letters"
)
_LOST = text("SELECT count(*) FROM lost_acknowledgements")
_ARCHIVE_STOPPED = text(
    "SELECT name || ': ' || reason FROM archive_units WHERE state = 'stopped' ORDER BY id"
)
_UNFINISHED = text(
    "SELECT count(*) AS waiting,"
    " coalesce(extract(epoch FROM clock_timestamp() - min(requested_at)), 0) AS age"
    " FROM user_erasures WHERE finished_at IS NULL"
)
_OUTBOX = text(
    "SELECT count(*) AS waiting,"
    " coalesce(extract(epoch FROM clock_timestamp() - min(queued_at)), 0) AS age"
    " FROM clickhouse_outbox"
)


def judge_postgres(engine: Engine) -> list[Finding]:
    """What a process must know of PostgreSQL before it relies on it. Three round trips."""

    def look() -> list[Finding]:
        with translated(), engine.connect() as connection:
            return [*_server(connection), _clock(connection), _schema(connection)]

    return guarded(POSTGRES, "reachable", look, _UNREACHABLE)


def check_postgres(engine: Engine, weeks_ahead: int) -> list[Finding]:
    """PostgreSQL: where an acknowledged message is committed. Tables only where there are any."""

    def look() -> list[Finding]:
        with translated(), engine.connect() as connection:
            findings = [*_server(connection), _role(connection), _clock(connection)]
            findings.append(_schema(connection))
            if connection.execute(_EXISTS, {"name": "dead_letters"}).scalar_one():
                findings += [
                    _partitions(connection, weeks_ahead),
                    _dead_letters(connection),
                    _outbox(connection),
                    _lost(connection),
                    _archive(connection),
                ]
                if connection.execute(_EXISTS, {"name": "retention_policies"}).scalar_one():
                    findings += [_retention(connection), _erasures(connection)]
            return findings

    return guarded(POSTGRES, "reachable", look, _UNREACHABLE)


def _server(connection: Connection) -> list[Finding]:
    row = connection.execute(_SETTINGS).one()
    version = found(
        POSTGRES,
        "version",
        row.number >= OLDEST_MAJOR * 10_000,
        f"PostgreSQL {row.version}",
        f"use PostgreSQL {OLDEST_MAJOR} or newer",
    )
    return [
        version,
        _durable("synchronous_commit", row.synchronous_commit),
        _durable("fsync", row.fsync),
        _durable("full_page_writes", row.full_page_writes),
    ]


def _durable(setting: str, value: str) -> Finding:
    advice = "set it back to on: as it is, a crash of the server may lose committed messages"
    return found(POSTGRES, setting, value != "off", value, advice, "weaker", COMMITTED)


def _role(connection: Connection) -> Finding:
    exists = connection.execute(_ROLE).scalar_one()
    value = "this user may act as it" if exists else "missing, or not granted to this user"
    advice = (
        "let an administrator run: CREATE ROLE threadkeep_web NOLOGIN;"
        " GRANT threadkeep_web TO the user of DATABASE_URL"
    )
    return found(POSTGRES, "role threadkeep_web", exists, value, advice)


def _clock(connection: Connection) -> Finding:
    before = datetime.now(UTC)
    moment: datetime = connection.execute(_NOW).scalar_one()
    return clock(POSTGRES, ahead_seconds(moment, before, datetime.now(UTC)))


def _schema(connection: Connection) -> Finding:
    standing = schema.postgres_standing(connection)
    value, advice = standing.found, standing.advice
    return found(POSTGRES, "schema", standing.is_ours, value, advice, "refuse")


def _partitions(connection: Connection, weeks_ahead: int) -> Finding:
    monday = monday_of(datetime.now(UTC))
    wanted = [name(monday + WEEK * ahead) for ahead in range(weeks_ahead + 1)]
    missing = [
        table for table in wanted if not connection.execute(_EXISTS, {"name": table}).scalar_one()
    ]
    value = f"missing: {', '.join(missing)}" if missing else f"{weeks_ahead} weeks ahead"
    advice = (
        f"{schema_version.MIGRATE}, and see that beat and a worker run: they make these each hour"
    )
    return found(POSTGRES, "partitions", not missing, value, advice)


def _dead_letters(connection: Connection) -> Finding:
    row = connection.execute(_DEAD_LETTERS).one()
    value = f"{row.letters:,}" + (f", the oldest for {row.age / 3600:.1f} h" if row.letters else "")
    advice = "see `threadkeep dead-letters list`: mend the cause and replay each, or discard it"
    return found(POSTGRES, "dead letters", row.letters == 0, value, advice)


def _lost(connection: Connection) -> Finding:
    count = connection.execute(_LOST).scalar_one()
    advice = (
        "the table lost_acknowledgements has their ids: tell those who wrote them, then empty it;"
        " a replica with WAITAOF, or durability: committed, keeps it from happening"
    )
    return found(POSTGRES, "acknowledged and lost with Redis", count == 0, count, advice)


def _archive(connection: Connection) -> Finding:
    stopped = list(connection.execute(_ARCHIVE_STOPPED).scalars())
    advice = "nothing of it is dropped: mend what it names, and run `threadkeep archive` again"
    return found(POSTGRES, "archive", not stopped, "; ".join(stopped) or "nothing stopped", advice)


def _retention(connection: Connection) -> Finding:
    last = last_run(connection)
    if last is None:
        return found(POSTGRES, "retention", True, "no message has an age at which it goes", "")
    value = f"{last.policies} policies, last applied {last.at or 'never'}"
    if last.left:
        value += f", {last.left:,} due messages left"
    if last.incomplete:
        value += f", incomplete: {last.incomplete}"
    advice = "see that beat and a worker run; `threadkeep retention apply` does it now"
    return found(POSTGRES, "retention", not last.is_overdue, value, advice)


def _erasures(connection: Connection) -> Finding:
    row = connection.execute(_UNFINISHED).one()
    age = float(row.age)
    value = f"{row.waiting} unfinished, the oldest for {age:.0f} s" if row.waiting else "done"
    advice = "see which tier is in the way: DELETE /api/admin/users/… again gives the receipt"
    return found(POSTGRES, "erasures of users", age <= ERASURE_AGE_SECONDS, value, advice)


def _outbox(connection: Connection) -> Finding:
    row = connection.execute(_OUTBOX).one()
    age = float(row.age)
    value = f"{row.waiting:,} waiting" + (f", the oldest for {age:.1f} s" if row.waiting else "")
    advice = "see that a worker runs and reaches ClickHouse; its log says what it waits for"
    return found(POSTGRES, "outbox", age <= OUTBOX_AGE_SECONDS, value, advice)
