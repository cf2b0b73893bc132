"""What a session of PostgreSQL is like is ours to say: neither the environment nor the role nor the
database changes what is read or written."""

from collections.abc import Callable, Iterator

import msgspec
import psycopg2
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from models import codec
from settings import Settings
from storage.postgres import engines, schema, writes
from storage.postgres.partitions import Partitions
from storage.postgres.reads import PostgresTier
from storage.resilience.breaker import Breaker
from support.data.samples import AWKWARD_TEXTS, message
from support.stack.databases import empty_database
from wiring.process import Services

ENVIRONMENT = {
    "PGTZ": "America/New_York",
    "PGDATESTYLE": "SQL, DMY",
    "PGCLIENTENCODING": "LATIN1",
    "PGAPPNAME": "somebody else",
    "PGCONNECT_TIMEOUT": "0",
    "PGOPTIONS": (
        "-c timezone=Asia/Tokyo -c intervalstyle=sql_standard -c bytea_output=escape"
        " -c extra_float_digits=-5 -c standard_conforming_strings=off -c statement_timeout=1"
        " -c default_transaction_isolation=serializable"
    ),
}
OF_THE_DATABASE = {
    "timezone": "'Asia/Kolkata'",
    "datestyle": "'German, DMY'",
    "intervalstyle": "iso_8601",
    "bytea_output": "escape",
    "extra_float_digits": "-5",
    "standard_conforming_strings": "off",
    "default_transaction_isolation": "serializable",
    "statement_timeout": "1",
    "lock_timeout": "1",
    "client_encoding": "LATIN1",
}
ENGINES: tuple[Callable[[Settings], Engine], ...] = (
    engines.request_engine,
    engines.quick_engine,
    engines.watch_engine,
    engines.notice_engine,
    engines.job_engine,
)


@pytest.fixture
def hostile(alone: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings of a database and in an environment that would have it all otherwise."""
    with (
        empty_database(alone.settings.database_url, **OF_THE_DATABASE) as url,
        monkeypatch.context() as patched,
    ):
        for name, value in ENVIRONMENT.items():
            patched.setenv(name, value)
        yield msgspec.structs.replace(alone.settings, database_url=url)


@pytest.mark.parametrize("make", ENGINES)
def test_every_session_is_as_we_say(hostile: Settings, make: Callable[[Settings], Engine]) -> None:
    engine = make(hostile)
    wanted = engines.RELIED_ON | {
        "client_encoding": "UTF8",
        "application_name": engines.APPLICATION_NAME,
    }
    for _ in range(2):
        with engine.connect() as connection:
            found = {name: connection.execute(text(f"SHOW {name}")).scalar_one() for name in wanted}
            assert found == wanted
            assert connection.execute(text("SHOW statement_timeout")).scalar_one() != "1ms"
    engine.dispose()


def test_a_message_is_read_as_it_was_written(hostile: Settings, user: str) -> None:
    engine = engines.job_engine(hostile)
    schema.migrate_postgres(engine)
    written = [message(user, content=one, metadata={"n": 0.1}) for one in AWKWARD_TEXTS]
    Partitions(engine).ensure_for(one.id for one in written)
    with engine.begin() as connection:
        writes.upsert_messages(connection, [codec.encode(one) for one in written])
    tier = PostgresTier(engine, engine, Breaker("postgresql", lambda: None, 5.0))
    for one in written:
        found = tier.message(user, one.id)
        assert found is not None
        assert found[0] == one
        assert codec.is_intact(found[0])
    engine.dispose()


def test_a_session_that_would_not_be_so_is_not_used(
    alone: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(engines.RELIED_ON, "timezone", "Etc/UTC")
    engine = engines.job_engine(alone.settings)
    with pytest.raises(OperationalError, match="would not take its settings") as caught:
        engine.connect()
    assert isinstance(caught.value.orig, psycopg2.OperationalError)
    engine.dispose()
