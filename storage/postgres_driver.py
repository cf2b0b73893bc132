"""What everything that speaks to PostgreSQL shares: the driver's errors, and rows as messages."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, TextClause, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, TimeoutError

from models.message import Message
from storage.errors import TierError, TierRejected, TierUnavailable

# Connection lost or refused, resources, operator intervention, lock or statement timeouts,
# serialization and deadlock, a database that was lost and has no tables yet: asking again may help.
_TRANSIENT_CLASSES = ("08", "53", "55", "57", "58", "40", "3D000", "42P01")

# Deadlocks and serialization, locks, one statement's or transaction's deadline; a full disk or a
# server that takes no writes still answers reads.
_PASSING_CODES = ("40", "55", "57014", "25P03", "25P04", "53100", "25006")

MAX_HEADLINE_CHARACTERS = 300

_LOCK_PATIENCE = text("SELECT set_config('lock_timeout', :patience, true)")


def is_transient(error: DBAPIError) -> bool:
    """Whether the same statement may succeed later."""
    code = getattr(error.orig, "pgcode", None)
    return code is None or code.startswith((*_TRANSIENT_CLASSES, *_PASSING_CODES))


def as_tier_error(error: DBAPIError) -> TierError:
    """The tier's word for a driver's error."""
    text = first_line(str(error.orig))
    if not is_transient(error):
        return TierRejected("postgresql", text)
    code = getattr(error.orig, "pgcode", None) or ""
    return TierUnavailable("postgresql", text, passing=code.startswith(_PASSING_CODES))


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
        raise TierRejected("postgresql", str(error)) from error


def wait_for(connection: Connection, lock: TextClause) -> None:
    """Takes a lock of the transaction, for which others who do the same may be waited for: up to
    twenty seconds, where other locks are waited for as briefly as ever."""
    before = connection.execute(text("SELECT current_setting('lock_timeout')")).scalar_one()
    connection.execute(_LOCK_PATIENCE, {"patience": "20s"})
    connection.execute(lock)
    connection.execute(_LOCK_PATIENCE, {"patience": before})


def first_line(reason: str) -> str:
    """What PostgreSQL says first; its details hold the values of the row."""
    return reason.strip().split("\n", 1)[0]


def headline(reason: str) -> str:
    """The first line without the value that it may quote at its end: never what was written."""
    return first_line(reason).split(': "', 1)[0][:MAX_HEADLINE_CHARACTERS]


def message_of(row: Row[Any]) -> Message:
    """A message from a row that holds the columns of `messages`."""
    return Message(
        version=row.version,
        id=row.id,
        thread_id=row.thread_id,
        user_id=row.user_id,
        role=row.role,
        content=row.content,
        metadata=row.metadata,
        created_at=rfc3339(row.created_at),
        updated_at=rfc3339(row.updated_at),
        deleted_at=rfc3339(row.deleted_at) if row.deleted_at else None,
        content_hash=row.content_hash,
    )


def rfc3339(moment: datetime) -> str:
    """RFC 3339 in UTC with six digits."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
