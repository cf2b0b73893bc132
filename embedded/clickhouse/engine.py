"""chDB behind one call: a statement in, its bytes or ClickHouse's own error out."""

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from chdb import _chdb

from embedded.clickhouse import rules
from embedded.clickhouse.sql import Insert, SqlRefused, refuse_several, split_insert

LIBRARY = Path(_chdb.__file__).name
SIMULTANEOUS_STATEMENTS = 16
UNKNOWN_ERROR = 1002
BAD_ARGUMENTS = 36
_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ERROR_CODE = re.compile(r"Code: (\d+)\.")
# How often it compares its own count of memory with the kernel's; left out, twenty times a second.
_OPTIONS = "?memory_worker_period_ms=1000"
_FORMAT_AT_END = re.compile(rb"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)

# As in a server, "x" does not mean "SELECT x", and a row is acknowledged when it is written, not
# when it is queued.
_SERVER_SETTINGS = {"implicit_select": "0", "async_insert": "0"}


class ClickHouseError(Exception):
    """ClickHouse refused a statement; `code` is its number, the message its own text."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Statement:
    """One request: the statement, its data, database, format and settings."""

    text: bytes
    data: bytes = b""
    database: str = "default"
    format: str = "TabSeparated"
    settings: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False


@dataclass(frozen=True)
class StatementResult:
    """The result of a statement: `body` in `format`, and the amounts read and written."""

    body: bytes
    format: str
    read_rows: int
    read_bytes: int
    written_rows: int
    elapsed_ns: int


class _Link(Protocol):
    """A connection of chDB: a session with a database and settings of its own."""

    def query(self, text: bytes, output: str, *, params: dict[str, str]) -> Any:
        """Run one statement."""

    def close(self) -> None:
        """End the session."""


class Engine:
    """The one owner of a data folder. Its methods may be called from several threads."""

    def __init__(self, path: Path) -> None:
        """Open the folder. Raises `ClickHouseError` if another process has it open."""
        self._path = str(path)
        self._slots = threading.BoundedSemaphore(SIMULTANEOUS_STATEMENTS)
        self._running = 0
        self._running_lock = threading.Lock()
        # As long as one connection is open the tables stay loaded and a further one costs a
        # fraction of a millisecond.
        self._keep_open = _connect(self._path)
        self._shut_files_out()
        self._rules = rules.rules(
            self._names(b"system.table_functions"), self._names(b"system.functions")
        )
        self.version = self.run(Statement(b"SELECT version()")).body.decode().strip()
        self.timezone = self.run(Statement(b"SELECT timezone()")).body.decode().strip()

    def run(self, statement: Statement) -> StatementResult:
        """Run a statement in a session of its own, so that no setting outlives its request.

        Raises:
            ClickHouseError: With ClickHouse's code and text.
        """
        try:
            insert = self._allowed(statement)
        except SqlRefused as error:
            text = f"Code: {error.code}. DB::Exception: {error}."
            raise ClickHouseError(error.code, text) from error
        with self._counted(), self._slots, closing(_connect(self._path)) as link:
            _execute(link, _set_statement(_SERVER_SETTINGS | _checked(statement)))
            if statement.database != "default":
                _execute(link, f"USE {_identifier(statement.database)}".encode())
            return _run(link, statement, insert)

    def busy(self) -> bool:
        """Tell whether a statement is running or waits for its turn."""
        return self._running > 0

    def _allowed(self, statement: Statement) -> Insert | None:
        """Return the parts of an INSERT with data, None for another statement that may run."""
        insert = split_insert(statement.text)
        if insert is None:
            text = _whole(statement)
            self._rules.check(text, read_only=statement.read_only)
            refuse_several(text)
        else:
            head = insert.head + b" " + insert.settings
            self._rules.check(head, read_only=statement.read_only, has_data=True)
            if insert.format.lower() == b"values":
                # Both together are the rows: a value may begin in one and end in the other.
                self._rules.check_values(insert.data + statement.data)
        rules.check_database(statement.database)
        for name in statement.settings:
            rules.check_setting(name)
        return insert

    def _shut_files_out(self) -> None:
        """Replace the database `default`, in which chDB takes the name of a table for a file."""
        (Path(self._path) / "metadata" / "default.sql").unlink(missing_ok=True)
        _execute(self._keep_open, b"DETACH DATABASE default")
        _execute(self._keep_open, b"CREATE DATABASE default ENGINE = Memory")

    def _names(self, table: bytes) -> list[str]:
        found = _execute(self._keep_open, b"SELECT name FROM " + table)
        return found.body.decode().splitlines()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._running_lock:
            self._running += 1
        try:
            yield
        finally:
            with self._running_lock:
                self._running -= 1

    def close(self) -> None:
        """Close the folder; no statement may run any more."""
        self._keep_open.close()


def _whole(statement: Statement) -> bytes:
    return statement.text + (b"\n" + statement.data if statement.data else b"")


def _run(link: _Link, statement: Statement, insert: Insert | None) -> StatementResult:
    if insert is None:
        return _execute(link, _whole(statement), statement.format, statement.params)
    # An anonymous file: nothing touches the disk, and nothing stays behind after a crash.
    with closing(os.fdopen(os.memfd_create("rows"), "wb", buffering=0)) as rows:
        for piece in (insert.data, statement.data):
            _write_all(rows.fileno(), piece)
        text = insert.reading(f"/proc/self/fd/{rows.fileno()}")
        return _execute(link, text, statement.format, statement.params)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _execute(
    link: _Link,
    text: bytes,
    output: str = "TabSeparated",
    params: Mapping[str, str] | None = None,
) -> StatementResult:
    try:
        result = link.query(text, output, params=dict(params or {}))
    except RuntimeError as error:
        raise _translated(error) from error
    found = _FORMAT_AT_END.search(text)
    return StatementResult(
        body=result.bytes() or b"",
        format=found.group(1).decode() if found else output,
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        written_rows=result.rows_written(),
        elapsed_ns=int(result.elapsed() * 1e9),
    )


def _connect(path: str) -> _Link:
    # The stubs of chDB know its functions, not its connections.
    connect: Callable[[str], _Link] = vars(_chdb)["connect"]
    try:
        return connect(path + _OPTIONS)
    except RuntimeError as error:
        raise _translated(error) from error


def _translated(error: RuntimeError) -> ClickHouseError:
    found = _ERROR_CODE.search(str(error))
    return ClickHouseError(int(found.group(1)) if found else UNKNOWN_ERROR, str(error))


def _checked(statement: Statement) -> dict[str, str]:
    for name in statement.settings:
        if not _SETTING_NAME.fullmatch(name):
            text = f"Code: {BAD_ARGUMENTS}. DB::Exception: {name!r} is not a setting."
            raise ClickHouseError(BAD_ARGUMENTS, text)
    return dict(statement.settings)


def _set_statement(settings: Mapping[str, str]) -> bytes:
    pairs = (f"{name} = {_literal(value)}" for name, value in settings.items())
    return ("SET " + ", ".join(pairs)).encode()


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _identifier(text: str) -> str:
    return "`" + text.replace("\\", "\\\\").replace("`", "\\`") + "`"
