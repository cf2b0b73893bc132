"""The doctor's checks of PostgreSQL."""

from datetime import UTC, datetime

from sqlalchemy import Connection, Engine

from storage.availability.checks.finding import (
    COMMITTED,
    LEAST_RIGHTS,
    Finding,
    Rule,
    ahead_seconds,
    clock,
    findings,
    found,
    guarded,
    waiting,
)
from storage.postgres import backlog, schema
from storage.postgres.driver import execute, translated
from storage.postgres.partitions import WEEK, monday_of, name
from storage.postgres.retention_status import last_run
from storage.schema_version import MIGRATE

POSTGRES = "postgresql"
OLDEST_MAJOR = 15
OUTBOX_AGE_SECONDS = 60.0
ERASURE_AGE_SECONDS = 3600.0
_UNREACHABLE = "start it, or correct DATABASE_URL"

_SERVER = (
    "SELECT clock_timestamp() AS moment,"
    " current_setting('server_version') AS version,"
    " current_setting('server_version_num')::int AS number,"
    " current_setting('synchronous_commit') AS synchronous_commit,"
    " current_setting('fsync') AS fsync,"
    " current_setting('full_page_writes') AS full_page_writes"
)
_ROLE = (
    "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'threadkeep_web'"
    " AND pg_has_role(current_user, oid, 'SET'))"
)
# Whoever can become the owner of the tables passes every wall, and so does a superuser.
_LOGIN = """
SELECT pg_has_role(session_user, relowner, 'MEMBER') AS owns,
       ARRAY(SELECT name FROM unnest(ARRAY['threadkeep_worker', 'threadkeep_operator']) AS name
             WHERE name NOT IN (SELECT rolname FROM pg_roles)) AS missing
FROM pg_class WHERE oid = 'messages'::regclass
"""
_EXISTING = "SELECT name FROM unnest(:names) AS name WHERE to_regclass(name) IS NOT NULL"
_DETAILS = """
SELECT (SELECT string_agg(name || ': ' || reason, '; ' ORDER BY id)
        FROM archive_units WHERE state = 'stopped') AS stopped,
       (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(requested_at)), 0)
        FROM user_erasures WHERE finished_at IS NULL) AS unerased_age
"""
_DURABLE = Rule(
    "set it back to on: as it is, a crash of the server may lose committed messages",
    "weaker",
    COMMITTED,
)
_RULES = {
    "version": Rule(f"use PostgreSQL {OLDEST_MAJOR} or newer"),
    **dict.fromkeys(("synchronous_commit", "fsync", "full_page_writes"), _DURABLE),
    "role threadkeep_web": Rule(
        "let an administrator run: CREATE ROLE threadkeep_web NOLOGIN;"
        " GRANT threadkeep_web TO the user of DATABASE_URL"
    ),
    "login": Rule(
        "give web programs, jobs and `threadkeep migrate` logins of their own: docs/operations.md"
        " has the statements, under Logins of PostgreSQL",
        "weaker",
        LEAST_RIGHTS,
    ),
    "partitions": Rule(f"{MIGRATE}, and see that beat and a worker run: they make these each hour"),
    "dead letters": Rule(
        "see `threadkeep dead-letters list`: mend the cause and replay each, or discard it"
    ),
    "outbox": Rule("see that a worker runs and reaches ClickHouse; its log says what it waits for"),
    "acknowledged and lost with Redis": Rule(
        "the table lost_acknowledgements has their ids: tell those who wrote them, then empty it;"
        " a replica with WAITAOF, or durability: committed, keeps it from happening"
    ),
    "archive": Rule(
        "nothing of it is dropped: mend what it names, and run `threadkeep archive` again"
    ),
    "retention": Rule("see that beat and a worker run; `threadkeep retention apply` does it now"),
    "erasures of users": Rule(
        "see which tier is in the way: DELETE /api/admin/users/… again gives the receipt"
    ),
}


def judge_postgres(engine: Engine) -> list[Finding]:
    """What a process must know of PostgreSQL before it relies on it. Three round trips."""
    return check_postgres(engine, None)


def check_postgres(engine: Engine, weeks_ahead: int | None) -> list[Finding]:
    """PostgreSQL: where acknowledged messages are committed. Its tables once all are there, and not
    where a process judges it."""

    def ask() -> list[Finding]:
        with translated(), engine.connect() as connection:
            version = schema.postgres_standing(connection)
            told = _server(connection)
            is_ours, what, advice = version.is_ours, version.found, version.advice
            told.append(found(POSTGRES, "schema", is_ours, what, advice, "refuse"))
            if weeks_ahead is None:
                return told
            exists = execute(connection, _ROLE).scalar_one()
            role = "this user may act as it" if exists else "missing, or not granted to this user"
            told += findings(POSTGRES, _RULES, {"role threadkeep_web": (exists, role)})
            return told if version.missing else told + _tables(connection, weeks_ahead)

    return guarded(POSTGRES, "reachable", ask, _UNREACHABLE)


def _server(connection: Connection) -> list[Finding]:
    before = datetime.now(UTC)
    server = execute(connection, _SERVER).one()
    after = datetime.now(UTC)
    judged = {
        "version": (server.number >= OLDEST_MAJOR * 10_000, f"PostgreSQL {server.version}"),
        "synchronous_commit": (server.synchronous_commit != "off", server.synchronous_commit),
        "fsync": (server.fsync != "off", server.fsync),
        "full_page_writes": (server.full_page_writes != "off", server.full_page_writes),
    }
    ahead = clock(POSTGRES, ahead_seconds(server.moment, before, after))
    return [*findings(POSTGRES, _RULES, judged), ahead]


def _partitions(connection: Connection, weeks_ahead: int) -> tuple[bool, str]:
    monday = monday_of(datetime.now(UTC))
    wanted = [name(monday + WEEK * ahead) for ahead in range(weeks_ahead + 1)]
    existing = set(execute(connection, _EXISTING, names=wanted).scalars())
    missing = [table for table in wanted if table not in existing]
    return not missing, (
        f"missing: {', '.join(missing)}" if missing else f"{weeks_ahead} weeks ahead"
    )


def _tables(connection: Connection, weeks_ahead: int) -> list[Finding]:
    waits, row = backlog.outstanding(connection), execute(connection, _DETAILS).one()
    letters, erasures = f"{waits.dead_letters:,}", "done"
    if waits.dead_letters:
        hours = (waits.oldest_dead_letter_seconds or 0.0) / 3600
        letters += f", the oldest for {hours:.1f} h"
    if waits.erasures_unfinished:
        age = f"the oldest for {row.unerased_age:.0f} s"
        erasures = f"{waits.erasures_unfinished} unfinished, {age}"
    unshipped_age = waits.oldest_outbox_seconds or 0.0
    judged = {
        "login": _login(connection),
        "partitions": _partitions(connection, weeks_ahead),
        "dead letters": (waits.dead_letters == 0, letters),
        "outbox": (unshipped_age <= OUTBOX_AGE_SECONDS, waiting(waits.outbox, unshipped_age)),
        "acknowledged and lost with Redis": (waits.acknowledged_lost == 0, waits.acknowledged_lost),
        "archive": (row.stopped is None, row.stopped or "nothing stopped"),
        "retention": _retention(connection),
        "erasures of users": (row.unerased_age <= ERASURE_AGE_SECONDS, erasures),
    }
    return findings(POSTGRES, _RULES, judged)


def _login(connection: Connection) -> tuple[bool, str]:
    found = execute(connection, _LOGIN).one()
    if found.missing:
        return False, f"there is no role {' and no role '.join(found.missing)}"
    return not found.owns, "owns the tables" if found.owns else "owns no table"


def _retention(connection: Connection) -> tuple[bool, str]:
    last = last_run(connection)
    if last is None:
        return True, "no message has an age at which it goes"
    value = f"{last.policies} policies, last applied {last.at or 'never'}"
    if last.left:
        value += f", {last.left:,} due messages left"
    if last.incomplete:
        value += f", incomplete: {last.incomplete}"
    return not last.is_overdue, value
