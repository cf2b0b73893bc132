"""What everything that speaks to PostgreSQL shares: the driver's errors, and rows as messages."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec
import psycopg2
from sqlalchemy import Connection, CursorResult, Engine, Executable, Row, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, TimeoutError

from models.message import Message
from storage.errors import TierError, TierRejected, TierUnavailable, headline

# Connection lost or refused, resources, operator intervention, lock or statement timeouts,
# serialization and deadlock, a database that was lost and has no tables yet: asking again may help.
_TRANSIENT_CLASSES = ("08", "53", "55", "57", "58", "40", "3D000", "42P01", "42883")

# Deadlocks and serialization, locks, one statement's or transaction's deadline; a full disk or a
# server that takes no writes still answers reads.
_PASSING_CODES = ("40", "55", "57014", "25P03", "25P04", "53100", "25006")

_OF_A_VALUE = "22"
"""The class of errors about a value: its form, its range, its encoding."""

Record = TypeVar("Record", bound=msgspec.Struct)
Item = TypeVar("Item")
Done = TypeVar("Done")
Given = ParamSpec("Given")


class OutOfTime(psycopg2.OperationalError):
    """The server said nothing in the time there was."""


def is_transient(error: DBAPIError) -> bool:
    """Whether the same statement may succeed later."""
    code = getattr(error.orig, "pgcode", None)
    return code is None or code.startswith((*_TRANSIENT_CLASSES, *_PASSING_CODES))


def as_tier_error(error: DBAPIError) -> TierError:
    """The tier's word for a driver's error."""
    reason = _reason_of(error)
    if not is_transient(error):
        return TierRejected("postgresql", reason)
    code = getattr(error.orig, "pgcode", None) or ""
    late = isinstance(error.orig, OutOfTime)
    return TierUnavailable("postgresql", reason, passing=code.startswith(_PASSING_CODES), late=late)


@contextmanager
def translated() -> Iterator[None]:
    """Turns the driver's errors into the tier's. Statements and values stay out of the text."""
    try:
        yield
    except DBAPIError as error:
        raise as_tier_error(error) from error
    except TimeoutError as error:
        reason = "no free connection in time"
        raise TierUnavailable("postgresql", reason, passing=True) from error
    except SQLAlchemyError as error:
        # Its text may be the statement, and what of it could not be sent.
        cause = getattr(error, "orig", None) or error
        raise TierRejected("postgresql", type(cause).__name__) from error


_clause = lru_cache(maxsize=512)(text)


def execute(
    connection: Connection, statement: str | Executable, values: Any = None, /, **named: Any
) -> CursorResult[Any]:
    """What a statement gives, in the caller's transaction. In its text `:name` stands for the value
    of that name; `values` are such by name, or a list of them for as many rows."""
    clause = _clause(statement) if isinstance(statement, str) else statement
    return connection.execute(clause, named or values)


def rows_of(
    engine: Engine,
    statement: str | Executable,
    values: Mapping[str, Any] | None = None,
    /,
    **named: Any,
) -> Sequence[Row[Any]]:
    """The rows of one statement, which is a transaction by itself: one round trip, not three.
    Raises `TierError`."""
    with translated(), engine.connect() as connection:
        alone = connection.execution_options(isolation_level="AUTOCOMMIT")
        return execute(alone, statement, values, **named).all()


def transact(
    engine: Engine,
    work: Callable[Concatenate[Connection, Given], Done],
    /,
    *arguments: Given.args,
    **options: Given.kwargs,
) -> Done:
    """Does something in a transaction of its own; gives what that gives. Raises `TierError`."""
    with translated(), engine.begin() as connection:
        return work(connection, *arguments, **options)


def in_halves(
    connection: Connection,
    items: Sequence[Item],
    write: Callable[[Sequence[Item]], object],
    refuse: Callable[[Item, str], object],
) -> None:
    """Writes all items in a savepoint; where PostgreSQL refuses that, each half by itself, down to
    the single items that it refuses, which are given to `refuse` with the reason. Raises what may
    succeed later."""
    try:
        with connection.begin_nested():
            write(items)
    except (DBAPIError, ValueError) as error:
        if isinstance(error, DBAPIError) and is_transient(error):
            raise
        if len(items) == 1:
            reason = str(error.orig) if isinstance(error, DBAPIError) else str(error)
            refuse(items[0], reason.strip())
            return
        middle = len(items) // 2
        in_halves(connection, items[:middle], write, refuse)
        in_halves(connection, items[middle:], write, refuse)


def _reason_of(error: DBAPIError) -> str:
    """What may be said of a driver's error: where PostgreSQL judged a value, its name for that and
    where the value was to go, for its words quote the value in whichever language."""
    code = getattr(error.orig, "pgcode", None)
    if code is None or not code.startswith(_OF_A_VALUE):
        return headline(str(error.orig))
    diagnosis = getattr(error.orig, "diag", None)
    names = [getattr(diagnosis, f"{part}_name", None) for part in ("table", "column", "constraint")]
    return " ".join([code, type(error.orig).__name__, *filter(None, names)])


def message_of(row: Row[Any]) -> Message:
    """A message from a row that holds the columns of `messages`."""
    return record_of(Message, row)


def record_of(kind: type[Record], row: Any, /, **others: Any) -> Record:
    """A struct from a row, or the like, that has its fields, times as RFC 3339; `others` are in
    place of what the row holds."""
    values = others
    for name in kind.__struct_fields__:
        if name not in others:
            value = getattr(row, name)
            values[name] = rfc3339(value) if type(value) is datetime else value
    return kind(**values)


def rfc3339(moment: datetime) -> str:
    """RFC 3339 in UTC with six digits."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
