"""Pools of PostgreSQL whose every wait has a deadline, never later than the request's: a psycopg2
wait callback notices a frozen server, as neither its own deadlines nor the kernel's do."""

import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import msgspec
import psycopg2
import psycopg2.extensions
from sqlalchemy import Connection, Engine, QueuePool, create_engine, event

from models import codec
from settings import Settings
from storage.errors import TierUnavailable
from storage.postgres.acting import OPERATOR
from storage.postgres.driver import OutOfTime, execute, rows_of
from storage.resilience import budget, simulated_outage

APPLICATION_NAME = "threadkeep"

Done = TypeVar("Done")

POOL_SECONDS = 0.5
"""Waiting for a connection of the pool: where all of them wait for a frozen server, so would
whoever waits for one of them, and then for the server once more."""

RELIED_ON = {
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "default_transaction_isolation": "read committed",
}
"""What every statement of ours takes for granted of its session. Asked for by a connection it
beats what a role or a database has, but not libpq's variables, as PGTZ: so it is set again then."""

_ESCAPED_SPACE = r"\ "
# A login that may not act as the role acts as itself: as the owner of all where there is one login
# for everything, and as one without any right where there are three.
_ACT_AS = (
    "set_config('role', coalesce((SELECT rolname FROM pg_roles WHERE rolname = %s"
    " AND pg_has_role(session_user, oid, 'MEMBER')), 'none'), false)"
)
_RELY = (
    f"SELECT {', '.join(f'set_config({name!r}, {RELIED_ON[name]!r}, false)' for name in RELIED_ON)}"
    f", {_ACT_AS}"
)

_HURRY = "SELECT set_config('statement_timeout', :deadline, true)"


class _PostgresPool(QueuePool):
    """Has nobody wait longer for a connection than there is time."""

    @property
    def _timeout(self) -> float:
        return budget.bounded(self._longest)

    @_timeout.setter
    def _timeout(self, seconds: float) -> None:
        self._longest = seconds


def request_engine(settings: Settings, role: str = "") -> Engine:
    """PostgreSQL on behalf of requests: short deadlines. Sessions act as a role, without one as
    whoever logs in; likewise below."""
    return _engine(settings, settings.database_timeout_seconds, role)


def operator_engine(settings: Settings) -> Engine:
    """PostgreSQL for what a web process does for admins and for itself: few connections."""
    return _engine(settings, settings.database_timeout_seconds, OPERATOR, connections=4)


def quick_engine(settings: Settings, role: str = "") -> Engine:
    """PostgreSQL for what must not keep anybody waiting, as writes that bypass Redis."""
    return _engine(settings, settings.database_quick_seconds, role)


def watch_engine(settings: Settings, role: str = "") -> Engine:
    """PostgreSQL for probes and the lease, which a crowd of requests must not keep waiting."""
    return _engine(settings, settings.database_quick_seconds, role, connections=2)


def notice_engine(settings: Settings, role: str = "") -> Engine:
    """PostgreSQL for notices, which are known also in a drill: quick, and few connections."""
    return _engine(
        settings, settings.database_quick_seconds, role, connections=2, heeds_drills=False
    )


def job_engine(settings: Settings, role: str = "") -> Engine:
    """PostgreSQL on behalf of background jobs: longer deadlines."""
    return _engine(settings, settings.database_job_timeout_seconds, role, pings_first=True)


def migrate_engine(settings: Settings) -> Engine:
    """PostgreSQL for the owner of the tables, who alone makes and changes them."""
    owner = msgspec.structs.replace(settings, database_url=settings.owner_url)
    return _engine(owner, settings.database_job_timeout_seconds, "", pings_first=True)


def _engine(
    settings: Settings,
    deadline_seconds: float,
    role: str,
    *,
    connections: int | None = None,
    pings_first: bool = False,
    heeds_drills: bool = True,
) -> Engine:
    psycopg2.extensions.set_wait_callback(_wait)
    statement_ms = int(deadline_seconds * 1000)
    options = (
        f"-c statement_timeout={statement_ms} -c lock_timeout={min(500, statement_ms)}"
        " -c idle_in_transaction_session_timeout=10000"
    )
    for name, value in RELIED_ON.items():
        options += f" -c {name}={value.replace(' ', _ESCAPED_SPACE)}"
    engine = create_engine(
        settings.database_url,
        poolclass=_PostgresPool,
        pool_size=connections or settings.database_connections,
        max_overflow=0,
        pool_timeout=POOL_SECONDS,
        # A frozen server would be waited for twice, in the ping and in the connection after it.
        # Without one, a restarted server costs one call, and all old connections go with it.
        pool_pre_ping=pings_first,
        pool_use_lifo=True,
        pool_recycle=600,
        # An error's text must not carry what somebody wrote.
        hide_parameters=True,
        json_deserializer=msgspec.json.decode,
        json_serializer=codec.text,
        connect_args={
            "application_name": APPLICATION_NAME,
            "connect_timeout": 2,
            "keepalives_idle": 1,
            "keepalives_interval": 1,
            "keepalives_count": 2,
            "tcp_user_timeout": 2000,
            # Of PGOPTIONS and PGCLIENTENCODING nothing is left, of PGTZ and the like see below.
            "options": options,
            "client_encoding": "utf8",
            # The server's own deadline comes first, so that it can say what it was about.
            "connection_factory": type(
                "Connection",
                (psycopg2.extensions.connection,),
                {"deadline_seconds": deadline_seconds * 1.25},
            ),
        },
    )
    event.listen(engine, "connect", partial(_rely, role))
    if heeds_drills:
        event.listen(engine, "checkout", lambda *_: simulated_outage.check("postgresql"))
        event.listen(
            engine, "before_cursor_execute", lambda *_: simulated_outage.wait("postgresql")
        )
    return engine


@contextmanager
def hurried(connection: Connection, seconds: float) -> Iterator[None]:
    """Gives each statement of the caller's transaction so long; a server that does not even end
    what takes longer is waited for twice that."""
    own: Any = connection.connection.driver_connection
    before, own.deadline_seconds = own.deadline_seconds, 2 * seconds
    try:
        execute(connection, _HURRY, deadline=f"{seconds * 1000:.0f}ms")
        yield
    finally:
        own.deadline_seconds = before


def retry_with_longer_deadline(
    quick: Engine, patient: Engine, act: Callable[[Engine], Done]
) -> Done:
    """What is done with the quick deadlines, or, where the server itself ended that and answers
    others, with longer ones: what one process writes to ClickHouse instead, everybody must ask
    for there. Silence is not waited for twice. Raises what the last try raises."""
    try:
        return act(quick)
    except TierUnavailable as error:
        if not (error.passing and _answers(quick)):
            raise
    return act(patient)


def _answers(engine: Engine) -> bool:
    try:
        rows_of(engine, "SELECT 1")
    except TierUnavailable:
        return False
    return True


def _rely(role: str, link: Any, _record: Any) -> None:
    """One round trip. Raises `OperationalError` where the session is not as it must be."""
    before, link.autocommit = link.autocommit, True
    try:
        with link.cursor() as cursor:
            cursor.execute(_RELY, (role,))
            found = dict(zip(RELIED_ON, cursor.fetchone(), strict=False))
    finally:
        link.autocommit = before
    if found != RELIED_ON:
        raise psycopg2.OperationalError(f"a session would not take its settings: {found}")


def _wait(connection: Any) -> None:
    """Waits for PostgreSQL as psycopg2 asks, but never past the connection's deadline."""
    deadline = time.monotonic() + budget.bounded(getattr(connection, "deadline_seconds", 2.5))
    poller = select.poll()
    while True:
        state = connection.poll()
        if state == psycopg2.extensions.POLL_OK:
            return
        wanted = select.POLLIN if state == psycopg2.extensions.POLL_READ else select.POLLOUT
        poller.register(connection.fileno(), wanted)
        remaining_ms = (deadline - time.monotonic()) * 1000
        if remaining_ms <= 0 or not poller.poll(remaining_ms):
            raise OutOfTime("the server did not answer before the deadline")
        poller.unregister(connection.fileno())
