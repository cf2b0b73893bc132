"""Every message that is not archived, read for one user, so that row-level security stands behind
each query's own `user_id`. Errors leave as the tier's."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    Text,
    Uuid,
    and_,
    cast,
    func,
    select,
)

from models import ids
from models.message import Message, Thread
from models.tables import archive_boundary, messages, threads, user_erasures
from storage.postgres.acting import AS_USER
from storage.postgres.driver import execute, message_of, record_of, rfc3339, translated
from storage.resilience.bites import LARGE_PAGE
from storage.resilience.breaker import Breaker


class PostgresPage(NamedTuple):
    """Messages of a thread in order, tombstones included, with what the reader must know beside
    them: the archive boundary and the thread's watermark if any. `is_cut`: more of them would have
    been too many bytes."""

    messages: list[Message]
    boundary: str
    watermark: str | None
    is_cut: bool = False


class ThreadRow(NamedTuple):
    """A thread as PostgreSQL knows it: its own data, and what its messages say of it."""

    thread: Thread
    last_message_at: str | None
    message_count: int


class PostgresTier:
    """The read verbs of the PostgreSQL tier over one engine, and another for operators."""

    def __init__(self, engine: Engine, operators: Engine, breaker: Breaker) -> None:
        self._engine = engine
        self._operators = operators
        self._breaker = breaker

    def message(
        self, user_id: str, message_id: str, *, also_hidden: bool = False
    ) -> tuple[Message, str] | None:
        """A message, tombstones included, with the time it was committed. One that went with its
        thread or its user only with `also_hidden`, for as long as it is there."""
        query = select(messages).where(messages.c.id == message_id, messages.c.user_id == user_id)
        if not also_hidden:
            thread = and_(
                threads.c.user_id == messages.c.user_id, threads.c.id == messages.c.thread_id
            )
            through = _highest(threads.c.deleted_through, _erased_through(user_id))
            query = query.outerjoin(threads, thread).where(
                messages.c.id > func.coalesce(through, ids.LOWEST)
            )
        with self.as_user(user_id) as connection:
            row = connection.execute(query).one_or_none()
        return (message_of(row), rfc3339(row.persisted_at)) if row else None

    def page(
        self,
        user_id: str,
        thread_id: str,
        low: str,
        high: str,
        order: str,
        count: int,
        most_bytes: int | None = None,
    ) -> PostgresPage:
        """Messages of a thread with `low` < id < `high`, at most `count` from that end, and no more
        once there are over `most_bytes`."""
        watermark = _watermark(user_id, thread_id).label("watermark")
        with self.as_user(user_id, is_bulk=count > LARGE_PAGE) as connection:
            deleted_through = connection.execute(select(watermark)).scalar_one()
            conditions = (
                messages.c.user_id == user_id,
                messages.c.thread_id == thread_id,
                messages.c.id > max(low, deleted_through or low),
                messages.c.id < high,
            )
            query = _page_of(conditions, order, count, most_bytes)
            rows = connection.execute(query).all()
            # Only now: what is archived after this was among the rows, and what was archived
            # before them lies below the boundary.
            boundary = connection.execute(select(archive_boundary.c.below)).scalar_one()
        is_cut = most_bytes is not None and bool(rows) and rows[-1].through > most_bytes
        return PostgresPage([message_of(row) for row in rows], boundary, deleted_through, is_cut)

    def watermark(self, user_id: str, thread_id: str) -> str | None:
        """The id at and below which all of a thread is gone: with it, or with its user."""
        with self.as_user(user_id) as connection:
            return connection.execute(select(_watermark(user_id, thread_id))).scalar_one()

    def thread(self, user_id: str, thread_id: str) -> ThreadRow | None:
        """A thread, deleted ones included."""
        query = select(threads).where(threads.c.user_id == user_id, threads.c.id == thread_id)
        with self.as_user(user_id) as connection:
            row = connection.execute(query).one_or_none()
        return thread_of(row) if row else None

    def version_of(self, user_id: str, message_id: str) -> int | None:
        """The committed version of a message."""
        query = select(messages.c.version).where(
            messages.c.id == message_id, messages.c.user_id == user_id
        )
        with self.as_user(user_id) as connection:
            return connection.execute(query).scalar_one_or_none()

    def owner_of(self, message_id: str) -> str | None:
        """Whose a message is, tombstones included."""
        query = select(messages.c.user_id).where(messages.c.id == message_id)
        with self.as_operator() as connection:
            return connection.execute(query).scalar_one_or_none()

    def ping(self) -> None:
        """Raises `TierUnavailable` if PostgreSQL does not answer."""
        with self._breaker.guard(), translated(), self._engine.connect() as connection:
            execute(connection, "SELECT 1")

    @contextmanager
    def as_user(self, user_id: str, *, is_bulk: bool = False) -> Iterator[Connection]:
        """A transaction that sees one user's rows alone; bulk may take its time. Errors leave as
        the tier's."""
        guard = self._breaker.guard(is_bulk=is_bulk)
        with guard, translated(), self._engine.begin() as connection:
            execute(connection, AS_USER, user_id=user_id)
            yield connection

    @contextmanager
    def as_operator(self) -> Iterator[Connection]:
        """A transaction that sees everybody's rows, for admins and for jobs about everybody."""
        with self._breaker.guard(), translated(), self._operators.begin() as connection:
            yield connection


def _page_of(
    conditions: Iterable[ColumnElement[bool]], order: str, count: int, most_bytes: int | None
) -> Select[Any]:
    """The query for the first messages in an order. With `most_bytes` it stops with the one that
    exceeds them; `through` is how many they are up to each."""
    end = messages.c.id if order == "asc" else messages.c.id.desc()
    query = select(messages).where(*conditions).order_by(end).limit(count)
    if most_bytes is None:
        return query
    size = func.octet_length(messages.c.content) + func.octet_length(
        cast(messages.c.metadata, Text)
    )
    through = func.sum(size).over(order_by=end, rows=(None, 0)).label("through")
    counted = query.add_columns(size.label("size"), through).subquery()
    own = counted.c.id if order == "asc" else counted.c.id.desc()
    fits = counted.c.through - counted.c.size <= most_bytes
    return select(counted).where(fits).order_by(own)


def _erased_through(user_id: str) -> ColumnElement[str]:
    erasure = select(user_erasures.c.erased_through).where(user_erasures.c.user_id == user_id)
    return erasure.scalar_subquery()


def _watermark(user_id: str, thread_id: str) -> ColumnElement[str | None]:
    deletion = (
        select(threads.c.deleted_through)
        .where(threads.c.user_id == user_id, threads.c.id == thread_id)
        .scalar_subquery()
    )
    return _highest(deletion, _erased_through(user_id))


def _highest(*marks: ColumnElement[Any]) -> ColumnElement[str | None]:
    return func.greatest(*marks, type_=Uuid(as_uuid=False))


def thread_of(row: Row[Any]) -> ThreadRow:
    """A thread from a row that holds the columns of `threads`."""
    last = rfc3339(row.last_message_at) if row.last_message_at else None
    return ThreadRow(record_of(Thread, row), last, row.message_count)
