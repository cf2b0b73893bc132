"""How the ClickHouse tier reaches its server, and the driver's errors as the tier's. Queries go
through clickhouse-sqlalchemy. Rows of an INSERT do not, since its HTTP dialect cuts microseconds:
they are the body of the request, or over the native protocol inside ClickHouse's `format`
function."""

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import requests
from clickhouse_sqlalchemy.exceptions import DatabaseException
from sqlalchemy import Engine, Executable, Row, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from storage.clickhouse.session import SETTINGS, ClickHouseSession, check_length
from storage.errors import TierRejected, TierUnavailable
from storage.resilience import simulated_outage
from storage.resilience.bites import sized_batches
from storage.telemetry.slow_queries import SlowQueries

_CODE = re.compile(r"Code: \d+")
_NAME = re.compile(r"\(([A-Z][A-Z0-9_]{3,})\)")
"""ClickHouse's name of an error, which it says at its end."""

Item = TypeVar("Item")

LIST_BYTES = 160 * 1024
"""Of the names in one statement; what is around them has the rest of what may be sent."""

EVERY_ROW = "SETTINGS final = 0, apply_deleted_mask = 0"
"""Ends a query that is to see what is there, superseded and hidden rows included."""

_MUTATIONS_AT_WORK = (
    "SELECT count() FROM system.mutations"
    " WHERE database = currentDatabase() AND table = '{table}' AND NOT is_done"
)

# An INSERT over the native protocol, which says itself how long it is.
_ROWS_FOLLOW = "INSERT INTO "

# Codes of ClickHouse that are worth a retry: too many parts or queries, memory, time,
# network, a keeper or a table that is read-only for now.
_TRANSIENT_CODES = ("159.", "160.", "202.", "209.", "210.", "241.", "242.", "252.", "999.")
# A table or a database that is not there: a server that lost all it had gets them back.
_LOST_CODES = ("60.", "81.")


@contextmanager
def translated() -> Iterator[None]:
    """Turns the driver's errors into the tier's."""
    try:
        yield
    except requests.RequestException as error:
        late = isinstance(error, requests.Timeout)
        raise TierUnavailable("clickhouse", type(error).__name__, late=late) from error
    except DatabaseException as error:
        raise _refusal(str(error)) from error
    except DBAPIError as error:
        raise TierUnavailable("clickhouse", str(error.orig).split("\n", 1)[0]) from error
    except SQLAlchemyError as error:
        # Its text may be the statement, and what of it could not be sent.
        raise TierRejected("clickhouse", type(error).__name__) from error
    except (EOFError, OSError) as error:
        raise TierUnavailable("clickhouse", f"{type(error).__name__}: {error}") from error


class ClickHouse:
    """One server and database, with one deadline for every answer."""

    def __init__(
        self,
        url: str,
        timeout_seconds: float,
        *,
        heeds_drills: bool = True,
        slow: SlowQueries | None = None,
    ) -> None:
        self._slow = slow
        self._url = make_url(url)
        self._timeout_seconds = timeout_seconds
        self._native = "native" in self._url.drivername
        self._heeds_drills = heeds_drills
        self._user = (self._url.username or "default", self._url.password or "")
        self.engine = self._make_engine()
        self._session = ClickHouseSession()
        # As the dialect reads them.
        verify = str(self._url.query.get("verify", ""))
        self._session.verify = False if verify in {"False", "false"} else verify or True
        self._session.cert = str(self._url.query.get("cert", "")) or None

    def rows(self, query: str | Executable) -> Sequence[Row[Any]]:
        """All rows of a query. Raises `TierError`."""
        with translated(), self.engine.connect() as connection:
            if isinstance(query, str):
                return connection.exec_driver_sql(query).all()
            return connection.execute(query).all()

    def number(self, query: str) -> int:
        """The one number that a query gives. Raises `TierError`."""
        return int(self.rows(query)[0][0])

    def execute(self, statement: str) -> None:
        """Runs a statement that answers nothing. Raises `TierError`."""
        with translated(), self.engine.begin() as connection:
            connection.exec_driver_sql(statement)

    def mutate(self, table: str, command: str) -> None:
        """Runs `ALTER TABLE … command` to its end. Raises `TierError`; and `TierUnavailable`,
        passing, while another mutation of the table is at work, as one whose caller did not wait
        for it."""
        if self.number(_MUTATIONS_AT_WORK.format(table=table)):
            raise TierUnavailable("clickhouse", f"a mutation of {table} is at work", passing=True)
        self.execute(f"ALTER TABLE {table} {command} SETTINGS mutations_sync = 2")

    def lines(self, query: str) -> bytes:
        """The rows of a query as JSON lines, text as it is stored and times with six digits, which
        the driver's own reading does not promise. Raises `TierError`."""
        if not self._native:
            statement = f"{query} FORMAT JSONEachRow"
            return self._send(statement, {}, statement.encode())
        # Rows come as one text: a column of it would be taken apart and put together again.
        rows = f"SELECT arrayStringConcat(groupArray(formatRow('JSONEachRow', *))) FROM ({query})"  # noqa: S608
        return str(self.rows(rows)[0][0]).encode()

    def insert(self, table: str, rows: bytes, token: str | None = None) -> None:
        """Inserts newline-separated JSON rows; the same token, or without one the same rows, twice
        count once. Raises `TierUnavailable` (may have happened) or `TierRejected`."""
        settings = {
            "insert_deduplication_token": token or hashlib.sha256(rows).hexdigest(),
            "async_insert": "0",
            "date_time_input_format": "best_effort",
            "input_format_json_read_objects_as_strings": "1",
            "input_format_skip_unknown_fields": "0",
        }
        if self._native:
            self._insert_native(table, rows, settings)
        else:
            statement = f"INSERT INTO {table} FORMAT JSONEachRow"
            self._send(statement, {"query": statement, **settings}, rows)

    def ping(self) -> None:
        """Raises `TierUnavailable` if ClickHouse does not answer."""
        self.rows("SELECT 1")

    def _send(self, statement: str, params: Mapping[str, str], body: bytes) -> bytes:
        if self._heeds_drills:
            simulated_outage.check("clickhouse")
            simulated_outage.wait("clickhouse")
        url = self._url
        started, failed = time.perf_counter(), True
        try:
            with translated():
                response = self._session.post(
                    f"{url.query.get('protocol', 'http')}://{url.host}:{url.port or 8123}/",
                    params={"database": url.database or "default", **SETTINGS, **params},
                    data=body,
                    auth=self._user,
                    timeout=self._timeout_seconds,
                )
            failed = response.status_code != 200
        finally:
            if self._slow is not None:
                seconds = time.perf_counter() - started
                self._slow.note("clickhouse", statement, seconds, failed=failed)
        if failed:
            raise _refusal(response.content.decode(errors="replace"))
        return response.content

    def _insert_native(self, table: str, rows: bytes, settings: Mapping[str, str]) -> None:
        escaped = rows.decode().replace("\\", "\\\\").replace("'", "\\'")
        pairs = ", ".join(f"{name} = '{value}'" for name, value in settings.items())
        self.execute(
            f"INSERT INTO {table} SELECT * FROM format(JSONEachRow, '{escaped}')"  # noqa: S608
            f" SETTINGS {pairs}, max_query_size = {len(escaped) + 65536}"
        )

    def _make_engine(self) -> Engine:
        if self._native:
            own = {"connect_timeout": "1", "send_receive_timeout": str(self._timeout_seconds)}
            engine = create_engine(self._url.update_query_dict(own | SETTINGS))
            event.listen(engine, "before_cursor_execute", _check_native)
        else:
            user, password = self._user
            url = self._url.set(username=user, password=password)
            engine = create_engine(
                url.update_query_dict({"timeout": str(self._timeout_seconds)}),
                connect_args={"http_session": ClickHouseSession, "ch_settings": SETTINGS},
            )
        if self._heeds_drills:
            event.listen(engine, "checkout", lambda *_: simulated_outage.check("clickhouse"))
            event.listen(
                engine, "before_cursor_execute", lambda *_: simulated_outage.wait("clickhouse")
            )
        if self._slow is not None:
            self._slow.watch(engine, "clickhouse")
        return engine


def batches(
    items: Iterable[Item], text_of: Callable[[Item], str], room: int = LIST_BYTES
) -> Iterator[list[Item]]:
    """Some things in turn, as many at once as their texts fit into one statement."""
    return sized_batches(items, lambda item: len(text_of(item).encode()) + len(", "), room)


def literal(value: str) -> str:
    """Any text inside a statement: no quote, backslash or percent sign is in anybody's way."""
    return f"unhex('{value.encode().hex()}')"


def literals(*values: str) -> str:
    """A tuple of texts inside a statement."""
    return f"({', '.join(map(literal, values))})"


def _check_native(*event_arguments: Any) -> None:
    """The text of a statement is all that the native protocol has, rows included."""
    statement, parameters = event_arguments[2:4]
    if not statement.startswith(_ROWS_FOLLOW):
        check_length(f"{statement}{parameters or ''}")


def _refusal(answer: str) -> TierRejected | TierUnavailable:
    line = answer.strip().split("\n", 1)[0]
    code = line.partition("Code: ")[2]
    if code.startswith((*_TRANSIENT_CODES, *_LOST_CODES)):
        return TierUnavailable("clickhouse", line[:500], passing=True)
    # No more may be said of it: its words quote the row that was sent, or the statement.
    named = [found[-1] for found in (_CODE.findall(answer)[:1], _NAME.findall(answer)) if found]
    return TierRejected("clickhouse", " ".join(named) or "it refused, and gave no code")
